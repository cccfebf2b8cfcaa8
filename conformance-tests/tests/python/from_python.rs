//! The snippets of `docs/FROM_PYTHON.md`: each Python snippet runs against its Rust counterpart,
//! both as they are on the page.
//!
//! `build.rs` extracts them. The output of a snippet, in either language, is captured and checked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pymq_conformance::Outcome;
use pymq_conformance::python::{Peers, Python};
use pymq_conformance::wait::until;

include!(concat!(env!("OUT_DIR"), "/from_python/sections.rs"));

/// Brings the snippets of a section of the page into a module, and the array `PYTHON`.
macro_rules! section {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/from_python/", $name, ".rs"));
    };
}

/// Records what the Rust code of a section prints in its `PRINTED`, and does not print it.
macro_rules! println {
    ($($argument:tt)*) => {
        super::print(&PRINTED, format!($($argument)*))
    };
}

type Printed = Mutex<Vec<String>>;

fn print(printed: &Printed, line: String) {
    lock(printed).push(line);
}

fn lock(printed: &Printed) -> MutexGuard<'_, Vec<String>> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the Rust code of a section has printed these lines and nothing else.
async fn until_printed(printed: &Printed, lines: &[&str]) -> Outcome {
    until(&format!("{lines:?} is printed"), async || {
        *lock(printed) == lines
    })
    .await
}

/// Redirects the output of Python to its queue `seen`.
async fn catch_prints(python: &Python) -> Outcome {
    let catch = "
        class Printed:
            def write(self, text):
                text.isspace() or seen.put(text)
            def flush(self):
                pass
        sys.stdout = Printed()
    ";
    python.run(catch).await
}

/// The topic of `MyEvent` in a script.
const MY_EVENT: &str = "__main__.MyEvent";

/// Subscribes Python to [`MY_EVENT`], so that a later handler is live at once, and captures its
/// output.
async fn listening_and_printing(peers: &Peers) -> Outcome {
    catch_prints(&peers.python).await?;
    peers
        .python
        .run("pymq.subscribe(lambda event: None, '__main__.MyEvent')")
        .await?;
    peers.until_listening(MY_EVENT, 1).await
}

#[test]
fn every_section_of_the_page_is_run() {
    let here = include_str!("from_python.rs");
    for name in SECTIONS {
        assert!(here.contains(&format!("section!({name:?})")), "{name}");
    }
}

mod initialize {
    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    section!("initialize");
    cases! { both_are_initialized_and_shut_down, }

    async fn both_are_initialized_and_shut_down(peers: Peers) -> Outcome {
        let [python] = PYTHON;
        let here = "
            import pymq.provider.redis
            pymq.shutdown()
            # The server and the namespace of the test are where the page has the default.
            started = []
            pymq.provider.redis.RedisConfig = lambda: lambda: started.append(_bus(*sys.argv[1:])) or started[0]
        ";
        peers.python.run(here).await?;
        peers.python.run(python).await?;
        let was_shut_down = "len(started) == 1 and started[0]._closed and pymq.core._bus is None";
        assert!(peers.python.eval::<bool>(was_shut_down).await?);

        let url = pymq_conformance::redis::app_url().await?;
        run(url.as_str()).await?;
        assert!(!pymq::bus().is_attached());
        Ok(())
    }
}

mod publish_and_subscribe {
    use std::sync::Mutex;

    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    use super::{MY_EVENT, Printed, listening_and_printing, until_printed};

    section!("publish_and_subscribe");
    cases! { an_event_of_each_reaches_both, }

    static PRINTED: Printed = Mutex::new(Vec::new());

    async fn an_event_of_each_reaches_both(peers: Peers) -> Outcome {
        let [python] = PYTHON;
        listening_and_printing(&peers).await?;
        subscribe(&peers.bus).await?;
        peers.until_listening(MY_EVENT, 2).await?;

        peers.python.run(python).await?;
        assert_eq!(peers.python.repr("seen.get()").await?, "'event received'");
        until_printed(&PRINTED, &["event received"]).await?;

        publish(&peers.bus).await?;
        assert_eq!(peers.python.repr("seen.get()").await?, "'event received'");
        until_printed(&PRINTED, &["event received"; 2]).await
    }
}

mod queues {
    use std::sync::Mutex;

    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    use super::{Printed, catch_prints, until_printed};

    section!("queues");
    cases! { an_item_of_each_is_taken_by_the_other, }

    static PRINTED: Printed = Mutex::new(Vec::new());

    async fn an_item_of_each_is_taken_by_the_other(peers: Peers) -> Outcome {
        let [python] = PYTHON;
        catch_prints(&peers.python).await?;

        // Python puts an item behind that of Rust and gets the first one. Rust gets the other.
        put(&peers.bus).await?;
        peers.python.run(python).await?;
        assert_eq!(peers.python.repr("seen.get()").await?, "'obj'");
        get(&peers.bus).await?;

        put(&peers.bus).await?;
        peers.python.run(python).await?;
        work(&peers.bus).await?;

        until_printed(&PRINTED, &["obj", "working on obj"]).await?;
        assert_eq!(peers.python.repr("queue.qsize()").await?, "0");
        Ok(())
    }
}

mod remotes {
    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    section!("remotes");
    cases! { each_calls_the_other, }

    async fn each_calls_the_other(peers: Peers) -> Outcome {
        let [server, client] = PYTHON;

        peers.python.run(server).await?;
        peers.until_listening("product_remote", 1).await?;
        assert_eq!(call(&peers.bus).await?, 8);

        peers.python.run("pymq.unexpose('product_remote')").await?;
        peers.until_listening("product_remote", 0).await?;
        let _serving = serve(&peers.bus).await?;
        assert_eq!(peers.python.eval::<i64>(client).await?, 8);
        Ok(())
    }
}

mod methods {
    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    section!("methods");
    cases! { each_calls_a_method_of_the_other, }

    async fn each_calls_a_method_of_the_other(peers: Peers) -> Outcome {
        const NAME: &str = "__main__.Remote.echo";
        let [both] = PYTHON;

        // Python may call before its own function is live. Ours is live.
        let serving = serve(&peers.bus).await?;
        assert_eq!(peers.python.eval::<String>(both).await?, "echo: pymq");

        peers.until_listening(NAME, 2).await?;
        serving.stop().await;
        peers.until_listening(NAME, 1).await?;
        assert_eq!(call(&peers.bus).await?, "echo: pymq");
        Ok(())
    }
}

mod all_servers_at_once {
    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;

    section!("all_servers_at_once");
    cases! { each_calls_the_servers_of_both, }

    async fn each_calls_the_servers_of_both(peers: Peers) -> Outcome {
        let [client] = PYTHON;
        let expose = "pymq.expose(lambda: 'Python', 'remote_method')";
        peers.python.run(expose).await?;
        let _serving = peers.bus.expose("remote_method", async || "Rust").await?;
        peers.until_listening("remote_method", 2).await?;

        peers.python.run(client).await?;
        let of_python: Vec<String> = peers.python.eval("sorted(result)").await?;
        assert_eq!(of_python, ["Python", "Rust"]);

        let of_rust: pymq_core::Result<Vec<_>> = call_all(&peers.bus).await?.into_iter().collect();
        let mut of_rust = of_rust?;
        of_rust.sort_unstable();
        assert_eq!(of_rust, ["Python", "Rust"]);
        Ok(())
    }
}

mod the_first_generation {
    use pymq_conformance::Outcome;
    use pymq_conformance::python::Peers;
    use serde_json::Value;

    use super::super::topics::next;
    use super::{MY_EVENT, listening_and_printing};

    section!("the_first_generation");
    cases! { its_programs_go_on_beside_rust, }

    async fn its_programs_go_on_beside_rust(peers: Peers) -> Outcome {
        let [names, listener, caller] = PYTHON;
        let python = &peers.python;
        python.run(names).await?;

        listening_and_printing(&peers).await?;
        let mut events = peers.bus.topic(MY_EVENT).stream::<Value>().await?;
        python.run(listener).await?;
        assert_eq!(python.repr("seen.get()").await?, "'event received'");
        next(&mut events).await?;

        assert_eq!(python.repr("pymq.rpc('product_remote', 2, 4)").await?, "[]");
        let product = async |a: i64, b: i64| a * b;
        let serving = peers.bus.expose("product_remote", product).await?;
        python.run(caller).await?;
        assert_eq!(python.repr("seen.get()").await?, "'8'");

        serving.stop().await;
        python
            .run("pymq.remote('product_remote')(lambda a, b: a * b)")
            .await?;
        peers.until_listening("product_remote", 1).await?;
        let [Ok(8)] = rpc(&peers.bus).await?[..] else {
            return Err("not one answer, 8".into());
        };
        Ok(())
    }
}
