use super::*;

fn fault(code: &str, details: &str) -> Fault {
    Fault::of_reply(format!("{code} {details}").as_bytes())
}

#[test]
fn each_code_has_its_kind() {
    for (code, kind, remedy) in [
        ("LOADING", ErrorKind::Disconnected, Remedy::Wait),
        ("READONLY", ErrorKind::Disconnected, Remedy::Reconnect),
        ("OOM", ErrorKind::OutOfMemory, Remedy::None),
        ("NOAUTH", ErrorKind::Auth, Remedy::None),
        ("WRONGPASS", ErrorKind::Auth, Remedy::None),
        ("NOPERM", ErrorKind::Permission, Remedy::None),
        ("WRONGTYPE", ErrorKind::WrongType, Remedy::None),
        ("NOSCRIPT", ErrorKind::Provider, Remedy::FullScript),
        ("MASTERDOWN", ErrorKind::Disconnected, Remedy::Wait),
        ("CLUSTERDOWN", ErrorKind::Disconnected, Remedy::Wait),
        ("TRYAGAIN", ErrorKind::Disconnected, Remedy::Wait),
        ("BUSY", ErrorKind::Disconnected, Remedy::Wait),
        ("NOREPLICAS", ErrorKind::Disconnected, Remedy::Wait),
        ("UNBLOCKED", ErrorKind::Disconnected, Remedy::Reconnect),
        ("MOVED", ErrorKind::Disconnected, Remedy::Redirect),
        ("ASK", ErrorKind::Disconnected, Remedy::Redirect),
        ("CROSSSLOT", ErrorKind::Provider, Remedy::None),
        ("MISCONF", ErrorKind::Provider, Remedy::None),
    ] {
        let fault = fault(code, "");

        assert_eq!((fault.kind, fault.remedy), (kind, remedy), "{code}");
    }
}

#[test]
fn an_error_inside_a_script_of_an_old_server_keeps_its_kind() {
    let fault = fault(
        "ERR",
        "Error running script (call to f_1): @user_script:3: -OOM command not allowed",
    );

    assert_eq!(fault.kind, ErrorKind::OutOfMemory);
}

#[test]
fn a_right_missing_inside_a_script_is_permission_on_every_version() {
    // 7.0, without the code and with the code that a script adds. 6.2 and 7.2 say NOPERM. Valkey 9.
    for text in [
        "ERR The user executing the script can't run this command or subcommand script: 12, on @user_script:1.",
        "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
        "The user executing the script can't publish to the channel mentioned in the command",
        "NOPERM The user executing the script can't run this command or subcommand",
        "ERR ACL failure in script: User app has no permissions to run the 'zadd' command",
    ] {
        assert_eq!(Fault::of_text(text).kind, ErrorKind::Permission, "{text}");
    }
}

#[test]
fn only_the_hash_only_call_is_repeated_in_full() {
    let outer = fault(
        "NOPERM",
        "User u has no permissions to run the 'evalsha' command",
    );
    let inner = fault(
        "NOPERM",
        "User u has no permissions to run the 'rpush' command script: 12, on @user_script:1.",
    );

    assert_eq!(
        (outer.remedy, inner.remedy),
        (Remedy::FullScript, Remedy::None)
    );
}

#[test]
fn causes_of_a_failed_connection_are_distinguished() {
    use std::io::{Error, ErrorKind as Io};

    for (error, kind, word) in [
        (
            Error::other("failed to lookup address information: Name or service not known"),
            ErrorKind::Disconnected,
            "resolved",
        ),
        (
            Error::new(Io::NetworkUnreachable, "Network is unreachable"),
            ErrorKind::Disconnected,
            "reached",
        ),
        (
            Error::new(Io::ConnectionRefused, "Connection refused"),
            ErrorKind::Disconnected,
            "listens",
        ),
        (
            Error::new(Io::ConnectionReset, "Connection reset by peer"),
            ErrorKind::Disconnected,
            "closed",
        ),
        (
            Error::new(Io::TimedOut, "timed out"),
            ErrorKind::Timeout,
            "in time",
        ),
        (
            Error::other("invalid peer certificate"),
            ErrorKind::Tls,
            "certificate",
        ),
    ] {
        let fault = Fault::of_connect(error, false);
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.to_string().contains(word), "{fault}");
    }
}

#[test]
fn a_broken_connection_leaves_the_outcome_open_and_a_refusal_does_not() {
    let broken = io::Error::from(io::ErrorKind::BrokenPipe);

    let unknown = Fault::broken(broken).into_error("redis: publish to `t`", "h:1");
    let refused = fault("OOM", "command not allowed").into_error("redis: put to `q`", "h:1");

    assert!(unknown.outcome_unknown() && unknown.kind() == ErrorKind::Disconnected);
    assert!(!refused.outcome_unknown());
    assert_eq!(
        refused.to_string(),
        "redis: put to `q`: the server has reached its `maxmemory` (h:1): out of memory"
    );
}

#[test]
fn a_node_of_a_cluster_says_where_a_slot_is() {
    let moved = fault("MOVED", "3999 10.0.0.1:6381").redirection().unwrap();
    assert_eq!(moved.slot, Slot::from_number(3_999).unwrap());
    assert_eq!(moved.to, ("10.0.0.1".to_owned(), 6_381));
    assert!(!moved.must_ask);

    let ask = fault("ASK", "7 ::1:6381").redirection().unwrap();
    assert_eq!(ask.to, ("::1".to_owned(), 6_381));
    assert!(ask.must_ask);

    for details in ["", "x a:1", "16384 a:1", "1 a", "1 a:x"] {
        assert!(fault("MOVED", details).redirection().is_none(), "{details}");
    }
    assert!(fault("ERR", "1 a:1").redirection().is_none());
}
