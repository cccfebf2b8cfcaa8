//! F21: passwords, rights and certificates that are wrong, from the start or later.
//!
//! Each gives one error of the right kind, soon. It names the cause and shows no secret.

use std::time::Duration;

use pymq_core::{Bus, Connect, Error, ErrorKind, Received};
use pymq_provider_redis::RedisConfig;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use super::{Report, Setting, tls};
use crate::errors::full_text;
use crate::redis::{Controlled, app_user};
use crate::{Failure, Outcome};

/// The password of every user. No message may show it.
const SECRET: &str = "s3cret-17";
const WRONG: &str = "s3cret-18";

/// The time limits of a connection and a command, and when an error is too late.
const TIMEOUT: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(3);

const RECOVERY: Duration = Duration::from_secs(6);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let mut admin = server.raw().await?;
    let rights: Vec<&str> = app_user().collect();
    allow(&mut admin, &rights, &[]).await?;
    let mut cases = Cases::default();
    passwords(&server, &mut cases).await?;
    missing_rights(&server, &mut admin, &rights, &mut cases).await?;
    password_changed(&server, &mut admin, &mut cases).await?;
    tls::judge(&setting, &mut cases).await?;
    Ok(cases.report)
}

/// What was tried, and the failures.
#[derive(Default)]
pub(super) struct Cases {
    pub(super) report: Report,
}

impl Cases {
    /// Asserts that a case ended with an error of this kind with all these texts.
    pub(super) fn refused(
        &mut self,
        case: &str,
        error: Option<&Error>,
        kind: ErrorKind,
        says: &str,
    ) {
        let told = error.map(|error| (error.kind(), full_text(error)));
        self.told(case, told.as_ref(), &[kind], says);
    }

    /// The same for the error of another process.
    pub(super) fn told(
        &mut self,
        case: &str,
        told: Option<&(ErrorKind, String)>,
        kinds: &[ErrorKind],
        says: &str,
    ) {
        self.report.sent += 1;
        let is_right = told.is_some_and(|(kind, text)| {
            kinds.contains(kind)
                && text.to_lowercase().contains(&says.to_lowercase())
                && !text.contains(SECRET)
                && !text.contains(WRONG)
        });
        self.report.worked += u64::from(is_right);
        self.report.demand(is_right, || {
            format!("{case}: want {kinds:?} and `{says}`, got {told:?}")
        });
    }

    /// Asserts that a case ended in time.
    pub(super) fn in_time(&mut self, case: &str, start: Instant) {
        let took = start.elapsed();
        self.report
            .demand(took <= LATE, || format!("{case}: told after {took:?}"));
    }
}

/// Sets the rights of the user, without some of them.
async fn allow(admin: &mut MultiplexedConnection, rights: &[&str], without: &[&str]) -> Outcome {
    let (name, rights) = rights.split_first().ok_or("no user")?;
    let rights = rights.iter().filter(|right| !right.starts_with('>'));
    redis::cmd("ACL")
        .arg(&["SETUSER", name, "reset"])
        .arg(rights.collect::<Vec<_>>())
        .arg(&["&*", &format!(">{SECRET}")])
        .arg(without)
        .exec_async(admin)
        .await?;
    Ok(())
}

fn config(server: &Controlled) -> Result<RedisConfig, Failure> {
    let config: RedisConfig = server.url().parse()?;
    Ok(config.connect_timeout(TIMEOUT).op_timeout(TIMEOUT))
}

/// Connects as the user.
async fn enter(server: &Controlled) -> Result<Bus, Failure> {
    let config = config(server)?.username("app").password(SECRET);
    Ok(Bus::connect(config).await?)
}

async fn passwords(server: &Controlled, cases: &mut Cases) -> Outcome {
    for (case, user, password) in [
        ("a wrong password", "app", WRONG),
        ("an unknown user", "nobody", SECRET),
    ] {
        let start = Instant::now();
        let config = config(server)?.username(user).password(password);
        let error = config.connect().await.err();
        cases.refused(
            case,
            error.as_ref(),
            ErrorKind::Auth,
            "wrong user or password",
        );
        cases.in_time(case, start);
    }
    // The first user of a server needs no password until it has one.
    let mut admin = server.raw().await?;
    let password = format!(">{SECRET}");
    command(
        &mut admin,
        &["ACL", "SETUSER", "default", "resetpass", &password],
    )
    .await?;
    let start = Instant::now();
    let error = config(server)?.connect().await.err();
    command(&mut admin, &["ACL", "SETUSER", "default", "nopass"]).await?;
    cases.refused("no password", error.as_ref(), ErrorKind::Auth, "password");
    cases.in_time("no password", start);
    Ok(())
}

async fn command(admin: &mut MultiplexedConnection, words: &[&str]) -> Outcome {
    let mut command = redis::Cmd::new();
    command.arg(words);
    Ok(command.exec_async(admin).await?)
}

/// Takes one right after the other away. The operation that needs it names it, and others continue.
async fn missing_rights(
    server: &Controlled,
    admin: &mut MultiplexedConnection,
    rights: &[&str],
    cases: &mut Cases,
) -> Outcome {
    for right in [
        "publish",
        "subscribe",
        "psubscribe",
        "lpush",
        "rpop",
        "eval",
    ] {
        allow(admin, rights, &[&format!("-{right}"), "-evalsha"]).await?;
        let bus = enter(server).await?;
        let start = Instant::now();
        let error = match right {
            "publish" => bus.topic("t").publish(&1).await.err(),
            "subscribe" => bus.topic("t").stream::<u32>().await.err(),
            "psubscribe" => bus.pattern("t*").stream::<u32>().await.err(),
            "lpush" => bus.queue::<i32>("q").put(&1).await.err(),
            "rpop" => bus.queue::<u32>("q").try_get().await.err(),
            _ => bus.queue::<u32>("q").try_lease().await.err(),
        };
        let case = format!("without the right to `{right}`");
        let says = format!("'{right}'");
        cases.refused(&case, error.as_ref(), ErrorKind::Permission, &says);
        cases.in_time(&case, start);
        let other = match right {
            "publish" => bus.queue::<i32>("q").put(&1).await,
            _ => bus.topic("t").publish(&1).await.map(drop),
        };
        cases.report.demand(other.is_ok(), || {
            format!("{case}: another operation fails as well: {other:?}")
        });
    }
    allow(admin, rights, &[]).await
}

/// Changes the password while a bus is connected, and cuts its connections. Then it changes the
/// password back.
async fn password_changed(
    server: &Controlled,
    admin: &mut MultiplexedConnection,
    cases: &mut Cases,
) -> Outcome {
    let case = "a password changed while running";
    let bus = enter(server).await?;
    let mut events = bus.topic("news").stream::<u32>().await?;
    let (old, new) = (format!(">{SECRET}"), format!(">{WRONG}"));
    command(admin, &["ACL", "SETUSER", "app", "resetpass", &new]).await?;
    server.cut_connections().await?;
    // It cut ours, too.
    let mut admin = server.raw().await?;
    let dialed = connections(&mut admin).await?;

    let start = Instant::now();
    let error = timeout(LATE, bus.queue::<i32>("q").put(&1)).await?.err();
    cases.refused(
        case,
        error.as_ref(),
        ErrorKind::Auth,
        "wrong user or password",
    );
    cases.in_time(case, start);
    // Long enough to see whether it dials without a pause.
    sleep(TIMEOUT).await;
    let dialed = connections(&mut admin).await? - dialed;
    cases.report.figure(format!(
        "{dialed} attempts to connect with the old password in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    cases.report.demand(dialed <= 100, || {
        format!("{case}: {dialed} attempts to connect, as in an endless loop")
    });

    command(&mut admin, &["ACL", "SETUSER", "app", "resetpass", &old]).await?;
    let back = Instant::now();
    let recovered = async {
        while bus.queue::<i32>("q").put(&1).await.is_err() {}
        // It was away, so the gap comes first.
        while !matches!(events.recv().await?, Received::Lagged(_)) {}
        bus.topic("news").publish(&1).await?;
        Ok::<_, Failure>(events.recv().await?.into_event())
    };
    let heard = timeout(RECOVERY, recovered).await;
    cases.report.recovered(back.elapsed());
    let is_back = matches!(heard, Ok(Ok(Some(1))));
    cases.report.demand(is_back, || {
        format!("{case} back: not all works after {RECOVERY:?}: {heard:?}")
    });
    Ok(())
}

/// Returns how many connections the server has accepted.
async fn connections(admin: &mut MultiplexedConnection) -> Result<u64, Failure> {
    let info: String = redis::cmd("INFO").arg("stats").query_async(admin).await?;
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    Ok(count.ok_or("no count of connections")?.trim().parse()?)
}
