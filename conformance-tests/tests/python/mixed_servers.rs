//! Servers of both kinds under one name.

use pymq_conformance::python::{Peers, Python};
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use pymq_core::{Bus, RemoteError};

use super::failures_of_python::FAIL;
use super::rust_calls_python::python_exposes;

cases! {
    all_servers_of_both_kinds_answer_a_call_to_all,
    a_failure_of_one_server_is_one_item_of_a_call_to_all,
    a_plain_call_among_servers_of_both_kinds_returns_one_answer,
    a_python_call_to_all_gets_the_answers_of_both_kinds,
}

/// Two servers of each kind under one name. Each returns its own.
async fn four_servers(peers: &Peers) -> Result<(Python, Bus), Failure> {
    let (python, bus) = (peers.another_python().await?, peers.another_bus().await?);
    for (python, name) in [(&peers.python, "python 1"), (&python, "python 2")] {
        python
            .run(&format!("pymq.expose(lambda: {name:?}, 'who')"))
            .await?;
    }
    for (bus, name) in [(&peers.bus, "rust 1"), (&bus, "rust 2")] {
        bus.expose("who", move || async move { name }).await?.keep();
    }
    peers.until_listening("who", 4).await?;
    Ok((python, bus))
}

async fn all_servers_of_both_kinds_answer_a_call_to_all(peers: Peers) -> Outcome {
    let _servers = four_servers(&peers).await?;
    let caller = peers.another_bus().await?;

    let responses = caller.call_all::<String>("who", ()).await?;

    assert_eq!(responses.expected(), 4);
    let mut names = soon("all answers", responses.all())
        .await?
        .into_iter()
        .collect::<pymq_core::Result<Vec<_>>>()?;
    names.sort_unstable();
    assert_eq!(names, ["python 1", "python 2", "rust 1", "rust 2"]);
    Ok(())
}

async fn a_failure_of_one_server_is_one_item_of_a_call_to_all(peers: Peers) -> Outcome {
    python_exposes(&peers, FAIL, &["fail"]).await?;
    let _exposed = peers.bus.expose("fail", async |text: String| text).await?;

    let responses = peers
        .bus
        .call_all::<String>("fail", ("KeyError('k')",))
        .await?
        .all()
        .await;

    let (answers, errors): (Vec<_>, Vec<_>) = responses.into_iter().partition(Result::is_ok);
    assert_eq!(
        answers.into_iter().flatten().collect::<Vec<_>>(),
        ["KeyError('k')"]
    );
    let errors: Vec<_> = errors
        .iter()
        .filter_map(|error| error.as_ref().err()?.remote())
        .collect();
    assert_eq!(errors, [&RemoteError::new("KeyError", "k")]);
    Ok(())
}

async fn a_plain_call_among_servers_of_both_kinds_returns_one_answer(peers: Peers) -> Outcome {
    let _servers = four_servers(&peers).await?;
    let who = peers.another_bus().await?.stub::<_, String>("who");

    for _ in 0..20 {
        let name = who.call(()).await?;
        assert!(
            name.starts_with("python") || name.starts_with("rust"),
            "{name}"
        );
    }
    Ok(())
}

async fn a_python_call_to_all_gets_the_answers_of_both_kinds(peers: Peers) -> Outcome {
    let (python, bus) = (peers.another_python().await?, peers.another_bus().await?);
    python.run("pymq.expose(lambda: 'python', 'who')").await?;
    peers.bus.expose("who", async || "rust").await?.keep();
    bus.expose("who", async || Err::<u8, _>("no")).await?.keep();
    peers.until_listening("who", 3).await?;

    let mut answers: Vec<String> = peers
        .python
        .eval("[str(answer) for answer in pymq.stub('who', timeout=30, multi=True)()]")
        .await?;

    answers.sort_unstable();
    assert_eq!(answers, ["('RuntimeError', 'no')", "python", "rust"]);
    Ok(())
}
