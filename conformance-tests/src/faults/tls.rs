//! The TLS part of F21. It needs the feature `tls`, `openssl` on the path, and a server that is a
//! local process. If one is missing, the report says so.
//!
//! The trust roots are those of the system. So each attempt runs in a process of its own with other
//! roots.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pymq_core::{Bus, ErrorKind};
use pymq_provider_redis::RedisConfig;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::Setting;
use super::certificates::{Certificates, word};
use super::refused_access::Cases;
use crate::errors::full_text;
use crate::redis::Source;
use crate::wait::WAIT_LIMIT;
use crate::{Failure, Outcome};

/// The first argument of a process that tries to connect.
pub(super) const ROLE: &str = "knock";

const TIMEOUT: Duration = Duration::from_secs(1);

/// The error of a process that tried to connect.
#[derive(Debug, Deserialize, Serialize)]
struct Met {
    /// No error: it is connected.
    kind: Option<String>,
    text: String,
}

/// Tries every fault of certificates and ports.
pub(super) async fn judge(setting: &Setting, cases: &mut Cases) -> Outcome {
    if !cfg!(feature = "tls") {
        not_tried(cases, "this is built without the feature `tls`");
        return Ok(());
    }
    let Some(made) = Certificates::make(setting.scratch().dir("certificates")?).await? else {
        not_tried(cases, "there is no `openssl`");
        return Ok(());
    };
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let [right, key, ours] =
        ["right.crt", "server.key", "ours.crt"].map(|name| word(&made.path(name)));
    let tls = [
        "--tls-port",
        &port.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &right,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ours,
    ];
    let source = crate::redis::source_of_own()?;
    if source != Source::Local {
        not_tried(cases, "the server is in a container");
        return Ok(());
    }
    let server = setting.server(&tls).await?;
    let (secure, plain) = (format!("rediss://127.0.0.1:{port}"), server.url());
    let trusted = made.path("ours.crt");

    let welcome = knock(&secure, &trusted).await?;
    cases.report.demand(welcome.is_none(), || {
        format!("a right certificate is refused: {welcome:?}")
    });
    let told = knock(&secure, &made.path("foreign.crt")).await?;
    cases.told(
        "a foreign authority",
        told.as_ref(),
        &[ErrorKind::Tls],
        "UnknownIssuer",
    );
    let told = knock(&plain.replace("redis://", "rediss://"), &trusted).await?;
    let kinds = [ErrorKind::Tls, ErrorKind::Timeout];
    cases.told(
        "TLS to a plain port",
        told.as_ref(),
        &kinds,
        "not speak TLS here",
    );
    let told = knock(&format!("redis://127.0.0.1:{port}"), &trusted).await?;
    cases.told(
        "plain to a TLS port",
        told.as_ref(),
        &[ErrorKind::Disconnected],
        "is it a TLS port",
    );

    let mut raw = server.raw().await?;
    for (certificate, says) in [("over", "expired"), ("elsewhere", "not valid for name")] {
        let file = word(&made.path(&format!("{certificate}.crt")));
        redis::cmd("CONFIG")
            .arg(&["SET", "tls-cert-file", &file])
            .exec_async(&mut raw)
            .await?;
        let told = knock(&secure, &trusted).await?;
        let case = format!("a certificate that is {certificate}");
        cases.told(&case, told.as_ref(), &[ErrorKind::Tls], says);
    }
    Ok(())
}

fn not_tried(cases: &mut Cases, why: &str) {
    cases.report.figure(format!("TLS was not tried: {why}"));
}

/// Lets a process connect that trusts these authorities. Returns its error.
async fn knock(url: &str, trusted: &Path) -> Result<Option<(ErrorKind, String)>, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args([ROLE, url])
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let met: Met = serde_json::from_slice(&output.stdout)?;
    let known = [ErrorKind::Tls, ErrorKind::Timeout, ErrorKind::Disconnected];
    let Some(name) = met.kind else {
        return Ok(None);
    };
    let kind = known.into_iter().find(|kind| format!("{kind:?}") == name);
    let kind = kind.ok_or_else(|| format!("an error of the kind {name}: {}", met.text))?;
    Ok(Some((kind, met.text)))
}

/// Runs as such a process.
pub(super) async fn run(url: &str) -> Result<(), Failure> {
    let config: RedisConfig = url.parse()?;
    let met = match Bus::connect(config.connect_timeout(TIMEOUT)).await {
        Ok(bus) => Met {
            kind: None,
            text: format!("{:?}", bus.ping(WAIT_LIMIT).await?),
        },
        Err(error) => Met {
            kind: Some(format!("{:?}", error.kind())),
            text: full_text(&error),
        },
    };
    println!("{}", serde_json::to_string(&met)?);
    Ok(())
}
