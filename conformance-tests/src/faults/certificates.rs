//! Certificates for a server on the loopback interface. `openssl` makes them when they are needed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::Failure;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Certificates(PathBuf);

impl Certificates {
    /// Makes two authorities, and certificates of the first one: a valid one, an expired one, and
    /// one for another name. Returns `None` without `openssl`.
    ///
    /// # Errors
    ///
    /// If `openssl` exists and does not make them.
    pub async fn make(dir: PathBuf) -> Result<Option<Self>, Failure> {
        let made = Self(dir);
        match made.openssl("version").await {
            Err(error) if is_missing(&*error) => return Ok(None),
            version => version?,
        }
        for authority in ["ours", "foreign"] {
            made.openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {authority}.key -out {authority}.crt -days 2 -subj /CN={authority}"
            ))
            .await?;
        }
        made.openssl(
            "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server",
        )
        .await?;
        for (name, days, host) in [
            ("right", "2", "IP:127.0.0.1"),
            ("over", "-1", "IP:127.0.0.1"),
            ("elsewhere", "2", "DNS:elsewhere.invalid"),
        ] {
            let extensions = format!("subjectAltName={host}\n");
            std::fs::write(made.path("extensions"), extensions)?;
            made.openssl(&format!(
                "x509 -req -in server.csr -CA ours.crt -CAkey ours.key -CAcreateserial -days {days} \
                 -extfile extensions -out {name}.crt"
            ))
            .await?;
        }
        Ok(Some(made))
    }

    /// Returns the path of one of the files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    async fn openssl(&self, words: &str) -> Result<(), Failure> {
        let output = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("openssl {words}: {said}").into())
    }
}

fn is_missing(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns a path as an argument of a command line.
pub fn word(path: &Path) -> String {
    path.display().to_string()
}
