//! An error names the provider and the operation, says whether a retry may help, and shows no
//! secret.

use std::error::Error as _;

use pymq_core::provider::PutOptions;
use pymq_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::harness::WRONG_PASSWORD;
use crate::lifecycle::operations;
use crate::traffic::numbered;
use crate::wait::{WAIT_LIMIT, soon};
use crate::{Failure, Fault, Harness, Outcome};

/// The text of an error begins with the provider, and names the topic or queue of the operation.
pub async fn provider_errors_name_provider_and_operation(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    provider.close().await?;

    for (operation, run) in operations(&*provider) {
        let error = soon(operation, run)
            .await?
            .expect_err("a closed handle works");
        let text = error.to_string();

        assert!(
            text.starts_with(&format!("{}: ", provider.name())),
            "{operation}: {text}"
        );
        assert!(text.contains("`n`"), "{operation}: {text}");
    }
    Ok(())
}

/// If no server answers, a later try may help. The error says so within the connect timeout.
pub async fn transient_errors_are_retryable(h: &dyn Harness) -> Outcome {
    for fault in [Fault::Down, Fault::Mute] {
        let Some(error) = connect_error(h, fault).await? else {
            return Ok(());
        };

        assert!(
            matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout),
            "{fault:?}: {error}"
        );
        assert!(error.is_retryable(), "{fault:?}: {error}");
    }
    Ok(())
}

/// With wrong or missing credentials, a retry does not help.
pub async fn permanent_errors_are_not(h: &dyn Harness) -> Outcome {
    for fault in [Fault::NoPassword, Fault::WrongPassword] {
        let Some(error) = connect_error(h, fault).await? else {
            return Ok(());
        };

        assert_eq!(error.kind(), ErrorKind::Auth, "{fault:?}: {error}");
        assert!(!error.is_retryable(), "{fault:?}: {error}");
        assert!(
            !full_text(&error).contains(WRONG_PASSWORD),
            "{fault:?}: {}",
            full_text(&error)
        );
    }
    Ok(())
}

/// A user without the right gets `Permission`, at connect or at the first operation.
pub async fn missing_rights_are_permission(h: &dyn Harness) -> Outcome {
    let Some(connected) = h.connect_despite(Fault::NoRights).await else {
        return not_shared(h).await;
    };

    let error = match connected {
        Ok(provider) => soon(
            "put",
            provider.queue_put("q", vec![numbered(1)], PutOptions::default()),
        )
        .await?
        .expect_err("a user without rights may put"),
        Err(error) => error,
    };

    assert_eq!(error.kind(), ErrorKind::Permission, "{}", full_text(&error));
    assert!(!error.is_retryable());
    Ok(())
}

/// Connects under a fault and returns the error, or none if the provider is not shared and no fault
/// is possible.
async fn connect_error(h: &dyn Harness, fault: Fault) -> Result<Option<Error>, Failure> {
    let began = Instant::now();
    let Some(connected) = h.connect_despite(fault).await else {
        not_shared(h).await?;
        return Ok(None);
    };
    assert!(
        began.elapsed() < 2 * WAIT_LIMIT,
        "{fault:?}: the error took {:?}",
        began.elapsed()
    );
    Ok(Some(connected.expect_err("it connected despite the fault")))
}

/// A provider that other processes can reach has a server, and a server can fail.
pub(crate) async fn not_shared(h: &dyn Harness) -> Outcome {
    assert!(
        !h.connect().await?.capabilities().shared,
        "the harness of a shared provider makes faults"
    );
    Ok(())
}

/// Returns the error with all its causes, as a log shows it.
pub(crate) fn full_text(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause} {cause:?}");
        source = cause.source();
    }
    text
}
