//! A Redis in a container, by testcontainers.

use std::mem::ManuallyDrop;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use uuid::Uuid;

use super::{Server, Source, Watchdog, answers, variable};
use crate::Failure;

/// Removes the container, and the volume that the official image declares, at the end of its input.
const SCRIPT: &str = r#"cat >/dev/null; docker rm --force --volumes "$1" >/dev/null"#;

/// The project's own script builds it where no registry answers.
const LOCAL_IMAGE: &str = "pymq-test-redis:7";
const OFFICIAL_IMAGE: &str = "redis:7";

/// The label of our containers: `docker ps --filter label=pymq-test`.
pub(super) const LABEL: &str = "pymq-test";

/// Starts a container, on a port of the host or on any, and returns when its server accepts
/// connections.
pub(super) async fn start(port: Option<u16>, options: &[&str]) -> Result<Server, Failure> {
    let image = image();
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image.as_str(), "latest"),
    };
    // The watchdog comes first, so that the container always has an owner.
    let name = format!("{LABEL}-{}", Uuid::new_v4().simple());
    let watchdog = Watchdog::start(SCRIPT, &[&name])?;
    let command = ["redis-server", "--protected-mode", "no", "--save", ""];

    let request = GenericImage::new(repository, tag)
        .with_exposed_port(6379.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
        .with_cmd(command.into_iter().chain(options.iter().copied()))
        .with_container_name(name)
        .with_label(LABEL, "redis");
    let request = match port {
        Some(port) => request.with_mapped_port(port, 6379.tcp()),
        None => request,
    };
    let container = request
        .start()
        .await
        .map_err(|error| format!("a container of `{image}` does not start: {error}"))?;
    // The watchdog removes it. Its own drop would need the runtime of the test that started it.
    let container = ManuallyDrop::new(container);

    // The port is that of IPv4. `localhost` may mean IPv6, where another container may have the
    // port.
    let host = container
        .get_host()
        .await?
        .to_string()
        .replace("localhost", "127.0.0.1");
    let port = container.get_host_port_ipv4(6379).await?;
    Ok(Server {
        source: Source::Docker,
        url: format!("redis://{host}:{port}"),
        _watchdog: Some(watchdog),
    })
}

pub(super) fn image() -> String {
    variable("PYMQ_TEST_REDIS_IMAGE").unwrap_or_else(|| {
        let is_there = answers("docker", &["image", "inspect", LOCAL_IMAGE]);
        if is_there {
            LOCAL_IMAGE
        } else {
            OFFICIAL_IMAGE
        }
        .to_owned()
    })
}
