use std::time::Duration;

use bytes::Bytes;
use pymq_core::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::connection::fault::Remedy;
use crate::connection::resp::CommandWriter;

const LIMIT: Duration = Duration::from_secs(5);

/// A pipeline, and the server's end of its connection.
fn pipeline(buffer: usize) -> (Arc<Pipeline>, DuplexStream, CancellationToken) {
    let (ours, server) = duplex(buffer);
    let (reader, writer) = tokio::io::split(ours);
    let socket = Socket {
        reader: Box::new(reader),
        writer: Box::new(writer),
    };
    let lost = CancellationToken::new();
    let pipeline = Pipeline::start(socket, Box::new(drop), lost.clone(), LIMIT);
    (Arc::new(pipeline), server, lost)
}

fn limited() -> Expected {
    Expected {
        until: Some(Instant::now() + LIMIT),
        confirmations: 0,
    }
}

fn unlimited() -> Expected {
    Expected {
        until: None,
        confirmations: 0,
    }
}

#[tokio::test]
async fn the_handler_of_a_command_gets_its_answer() {
    let (pipeline, mut server, _) = pipeline(1 << 10);
    let (handed, mut answers) = tokio::sync::mpsc::unbounded_channel();

    for word in ["A", "B"] {
        let handed = handed.clone();
        let handler = Box::new(move |result: Result<Reply, Fault>| handed.send(result).unwrap());
        pipeline
            .start_command(Command::new([word]), limited(), handler)
            .unwrap();
    }
    received(&mut server, 1).await;
    server.write_all(b":1\r\n").await.unwrap();
    assert_eq!(answers.recv().await.unwrap().unwrap(), Reply::Int(1));
    drop(server);

    assert!(answers.recv().await.unwrap().unwrap_err().may_have_run());
}

#[tokio::test]
async fn commands_of_a_held_connection_are_written_together_at_the_end_of_the_hold() {
    let (pipeline, mut server, _) = pipeline(1 << 10);
    let hold = pipeline.hold().unwrap();
    assert!(pipeline.hold().is_none(), "one at a time");
    let start = |word| {
        let command = Command::new([word]);
        pipeline
            .start_command(command, limited(), Box::new(drop))
            .unwrap();
    };

    for word in ["A", "B"] {
        start(word);
        yield_now().await;
    }
    drop(hold);

    let mut bytes = [0; 64];
    let read = server.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..read], b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n");
}

#[tokio::test]
async fn a_hold_without_commands_holds_up_no_later_one() {
    let (pipeline, mut server, _) = pipeline(1 << 10);
    let send = |word| {
        let pipeline = Arc::clone(&pipeline);
        tokio::spawn(async move { pipeline.send(Command::new([word]), limited())?.await })
    };
    let first = [send("A"), send("B")];
    received(&mut server, 2).await;
    let hold = pipeline.hold().unwrap();
    // After several answers, the driver plans to write.
    server.write_all(b":1\r\n:2\r\n").await.unwrap();
    for answer in first {
        answer.await.unwrap().unwrap();
    }
    yield_now().await;
    drop(hold);

    let last = send("C");

    assert_eq!(received(&mut server, 1).await, ["C"]);
    server.write_all(b":3\r\n").await.unwrap();
    assert_eq!(last.await.unwrap().unwrap(), Reply::Int(3));
}

#[tokio::test]
async fn several_commands_have_one_list_of_answers() {
    let (pipeline, mut server, _) = pipeline(1 << 10);
    let several = || {
        let mut commands = CommandWriter::default();
        commands.add(&[b"A"], []);
        commands.add(&[b"B"], []);
        commands.finish()
    };
    let send = |command: Command| {
        let pipeline = Arc::clone(&pipeline);
        tokio::spawn(async move { pipeline.send(command, limited())?.await })
    };

    let (first, failed, last) = (send(several()), send(several()), send(Command::new(["C"])));
    assert_eq!(received(&mut server, 5).await, ["A", "B", "A", "B", "C"]);
    server
        .write_all(b"-OOM no memory\r\n:2\r\n-LOADING\r\n-ERR\r\n:3\r\n")
        .await
        .unwrap();

    let answers = vec![Reply::Error("OOM no memory".into()), Reply::Int(2)];
    assert_eq!(first.await.unwrap().unwrap(), Reply::List(answers));
    assert_eq!(
        failed.await.unwrap().unwrap(),
        Reply::Error("LOADING".into())
    );
    assert_eq!(last.await.unwrap().unwrap(), Reply::Int(3));
}

/// Sends a command in a task, and lets the task run.
async fn send(
    pipeline: &Arc<Pipeline>,
    word: &str,
    expected: Expected,
) -> JoinHandle<Result<Reply, Fault>> {
    let (pipeline, command) = (Arc::clone(pipeline), Command::new([word]));
    let task = tokio::spawn(async move { pipeline.send(command, expected)?.await });
    yield_now().await;
    task
}

/// Reads the words of this many commands.
async fn received(server: &mut DuplexStream, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut text = String::new();
    while words.len() < count {
        let mut byte = [0];
        server.read_exact(&mut byte).await.unwrap();
        text.push(char::from(byte[0]));
        let lines: Vec<_> = text.split("\r\n").collect();
        if let [_, _, word, ""] = lines[..] {
            words.push(word.to_owned());
            text.clear();
        }
    }
    words
}

fn text(text: &'static str) -> Reply {
    Reply::Text(Bytes::from_static(text.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn answers_go_to_their_callers_in_order() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let a = send(&pipeline, "A", limited()).await;
    let b = send(&pipeline, "B", limited()).await;
    let c = send(&pipeline, "C", limited()).await;

    assert_eq!(received(&mut server, 3).await, ["A", "B", "C"]);
    server.write_all(b"+a\r\n+b\r\n-ERR no\r\n").await.unwrap();

    assert_eq!(a.await.unwrap().unwrap(), text("a"));
    assert_eq!(b.await.unwrap().unwrap(), text("b"));
    let refused = Reply::Error(Bytes::from_static(b"ERR no"));
    assert_eq!(c.await.unwrap().unwrap(), refused);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_caller_that_left_goes_to_no_other() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let a = send(&pipeline, "A", limited()).await;
    let b = send(&pipeline, "B", limited()).await;
    received(&mut server, 2).await;

    a.abort();
    drop(a.await);
    server.write_all(b"+a\r\n+b\r\n").await.unwrap();

    assert_eq!(b.await.unwrap().unwrap(), text("b"));
    assert!(pipeline.shared.lock().slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_left_is_not_sent() {
    // The socket takes one command and a half.
    let (pipeline, mut server, _) = pipeline(16);
    let a = send(&pipeline, "A", limited()).await;
    let b = send(&pipeline, "B", limited()).await;
    let c = send(&pipeline, "C", limited()).await;
    let d = send(&pipeline, "D", limited()).await;

    c.abort();
    drop(c.await);

    assert_eq!(received(&mut server, 3).await, ["A", "B", "D"]);
    server.write_all(b"+a\r\n+b\r\n+d\r\n").await.unwrap();
    assert_eq!(a.await.unwrap().unwrap(), text("a"));
    assert_eq!(b.await.unwrap().unwrap(), text("b"));
    assert_eq!(d.await.unwrap().unwrap(), text("d"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_tells_what_may_have_run() {
    let (pipeline, server, lost) = pipeline(16);
    let sent = send(&pipeline, "A", limited()).await;
    let half = send(&pipeline, "B", limited()).await;
    let unsent = send(&pipeline, "C", limited()).await;

    drop(server);
    lost.cancelled().await;

    for task in [sent, half] {
        let fault = task.await.unwrap().unwrap_err();
        assert_eq!(
            (fault.kind, fault.remedy),
            (ErrorKind::Disconnected, Remedy::Lost)
        );
        assert!(fault.into_error("", "").outcome_unknown());
    }
    let later = send(&pipeline, "D", limited()).await;
    for task in [unsent, later] {
        let fault = task.await.unwrap().unwrap_err();
        assert_eq!(fault.remedy, Remedy::Lost, "{fault}");
        assert!(fault.is_unsent(), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_without_an_answer_times_out_and_its_answer_is_dropped() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let start = Instant::now();
    let a = send(&pipeline, "A", limited()).await;
    tokio::time::sleep(LIMIT / 2).await;
    let b = send(&pipeline, "B", limited()).await;

    let fault = a.await.unwrap().unwrap_err();

    assert_eq!(fault.kind, ErrorKind::Timeout);
    let took = start.elapsed();
    assert!(
        took >= LIMIT && took < LIMIT + Duration::from_millis(20),
        "{took:?}"
    );
    server.write_all(b"+a\r\n+b\r\n").await.unwrap();
    assert_eq!(b.await.unwrap().unwrap(), text("b"));
    assert!(pipeline.shared.lock().slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_not_sent_in_time_did_not_run() {
    let (pipeline, mut server, _) = pipeline(16);
    let _sent = send(&pipeline, "A", limited()).await;
    let _half = send(&pipeline, "B", limited()).await;
    let unsent = send(&pipeline, "C", limited()).await;

    let fault = unsent.await.unwrap().unwrap_err();

    assert_eq!(fault.kind, ErrorKind::Timeout);
    assert!(!fault.into_error("", "").outcome_unknown());
    let last = send(&pipeline, "D", limited()).await;
    assert_eq!(received(&mut server, 3).await, ["A", "B", "D"]);
    drop(last);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_connection_still_answers_where_an_answer_must_not_be_lost() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let put = send(&pipeline, "PUT", limited()).await;
    let take = send(&pipeline, "TAKE", unlimited()).await;
    received(&mut server, 2).await;

    pipeline.abandon();

    let fault = put.await.unwrap().unwrap_err();
    assert!(fault.into_error("", "").outcome_unknown());
    let refused = send(&pipeline, "NEXT", limited()).await;
    assert!(refused.await.unwrap().unwrap_err().is_unsent());
    server.write_all(b"+put\r\n+item\r\n").await.unwrap();
    assert_eq!(take.await.unwrap().unwrap(), text("item"));
}

#[tokio::test(start_paused = true)]
async fn a_command_with_confirmations_waits_for_all_of_them() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let expected = Expected {
        confirmations: 2,
        ..unlimited()
    };
    let subscribe = send(&pipeline, "SUBSCRIBE", expected).await;
    let ping = send(&pipeline, "PING", limited()).await;
    received(&mut server, 2).await;

    let one = b">3\r\n+subscribe\r\n+a\r\n:1\r\n>3\r\n+message\r\n+a\r\n+x\r\n";
    server.write_all(one).await.unwrap();
    yield_now().await;
    assert!(!subscribe.is_finished());
    let other = b">3\r\n+subscribe\r\n+b\r\n:2\r\n+PONG\r\n";
    server.write_all(other).await.unwrap();

    assert!(matches!(subscribe.await.unwrap().unwrap(), Reply::Push(_)));
    assert_eq!(ping.await.unwrap().unwrap(), text("PONG"));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_resp_end_the_connection() {
    let (pipeline, mut server, lost) = pipeline(1 << 16);
    let a = send(&pipeline, "A", limited()).await;

    server.write_all(b"HTTP/1.1 400\r\n").await.unwrap();

    assert!(
        a.await
            .unwrap()
            .unwrap_err()
            .into_error("", "")
            .outcome_unknown()
    );
    lost.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_with_little_time_left_ends_in_time() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let start = Instant::now();
    let soon = Expected {
        until: Some(start + LIMIT / 10),
        confirmations: 0,
    };

    let fault = send(&pipeline, "A", soon).await.await.unwrap().unwrap_err();

    assert_eq!(fault.kind, ErrorKind::Timeout);
    assert!(start.elapsed() < LIMIT / 5, "{:?}", start.elapsed());
    received(&mut server, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_bytes_that_are_not_resp_reaches_its_caller() {
    let (pipeline, mut server, _) = pipeline(1 << 16);
    let a = send(&pipeline, "A", unlimited()).await;
    let b = send(&pipeline, "B", unlimited()).await;

    server.write_all(b"+a\r\nHTTP/1.1 400\r\n").await.unwrap();

    let a = tokio::time::timeout(LIMIT, a).await.expect("A is woken");
    assert_eq!(a.unwrap().unwrap(), text("a"));
    let fault = b.await.unwrap().unwrap_err();
    assert!(fault.into_error("", "").outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_before_any_command_tells_why() {
    let (pipeline, mut server, lost) = pipeline(1 << 16);
    let refusal = b"-ERR max number of clients reached\r\n";
    server.write_all(refusal).await.unwrap();
    lost.cancelled().await;

    let fault = send(&pipeline, "HELLO", limited()).await.await.unwrap();

    let text = fault.unwrap_err().to_string();
    assert!(text.contains("limit of clients"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_connection() {
    let (pipeline, mut server, lost) = pipeline(1 << 16);

    drop(pipeline);

    lost.cancelled().await;
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
}
