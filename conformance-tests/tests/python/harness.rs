//! The peer itself: it has the expected version, and leaves nothing behind.

use std::fs;

use pymq_conformance::Outcome;
use pymq_conformance::python::{Peers, directory};

cases! {
    the_peer_is_the_pinned_library,
    a_piece_answers_with_its_value_or_what_it_raised,
    a_peer_ends_with_its_input_whatever_it_is_doing,
}

async fn the_peer_is_the_pinned_library(Peers { python, .. }: Peers) -> Outcome {
    let [pymq, redis]: [String; 2] = python.eval("[pymq.__version__, redis.__version__]").await?;

    let requirements = fs::read_to_string(directory().join("requirements.txt"))?;
    for pinned in [format!("pymq[redis]=={pymq}"), format!("redis=={redis}")] {
        assert!(requirements.lines().any(|line| line == pinned), "{pinned}");
    }
    Ok(())
}

async fn a_piece_answers_with_its_value_or_what_it_raised(Peers { python, .. }: Peers) -> Outcome {
    let value: (i64, String) = python
        .eval(
            "
            def double(n):
                return 2 * n
            (double(4), 'é')
            ",
        )
        .await?;
    assert_eq!(value, (8, "é".to_owned()));
    assert_eq!(python.repr("{1: (2, None)}").await?, "{1: (2, None)}");

    let raised = python.raises("{}['k']").await?;
    assert_eq!(
        (raised.type_name.as_str(), raised.args.len()),
        ("KeyError", 1)
    );
    Ok(())
}

async fn a_peer_ends_with_its_input_whatever_it_is_doing(peers: Peers) -> Outcome {
    {
        let getting = peers.python.run("pymq.queue('q').get()");
        tokio::select! {
            outcome = getting => outcome?,
            waiting = peers.until_python_waits(1) => waiting?,
        }
    }

    let status = peers.python.hang_up().await?;

    assert!(status.success(), "{status}");
    Ok(())
}
