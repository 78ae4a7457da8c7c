//! The write gate over real sockets, against a peer that does exactly what each test says.

mod peer;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use peer::{OBJECT, SETTINGS, answer, drain, gate, listen, plain, read_request, replace};
use tenure_cluster::{Cluster, ClusterError, TermWriter, WriteError, WriterSettings};
use tokio::io::AsyncReadExt as _;
use tokio::task::yield_now;

#[tokio::test]
async fn a_write_is_answered_with_the_stored_object() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        answer(&mut stream, 200, OBJECT).await;
        request
    };
    let (written, request) = tokio::join!(gate.writer.write(replace("{}").with_field_manager("tenure-x")), peer);
    let written = written.unwrap();
    assert_eq!((written.version, written.code), (Some(42), 200));
    assert!(!std::str::from_utf8(&written.bytes).unwrap().contains("managedFields"));
    assert_eq!(written.passed_at, Some(peer::start()));
    let head = request.to_lowercase();
    assert!(
        head.starts_with("put /api/v1/namespaces/ns/configmaps/a?fieldmanager=tenure-x&timeout=12000ms http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
    assert!(head.contains("\r\naudit-id: tenure-7-1\r\n"), "{head}");
    assert_eq!(gate.writer.stats().written, 1);
}

/// The sweep meets each look in turn: admission, checkout, the stamping of the timeout, and those before `write(2)`.
#[tokio::test]
async fn whichever_look_fails_first_no_byte_leaves_on_a_pooled_connection() {
    let mut refused = 0;
    for looks in 0.. {
        let (listener, address) = listen().await;
        let gate = gate(plain(address), SETTINGS);
        let first = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            answer(&mut stream, 200, OBJECT).await;
            stream
        };
        let (written, mut stream) = tokio::join!(gate.writer.write(replace("{}")), first);
        written.unwrap();
        gate.clock.allow(looks);
        let writer = Arc::clone(&gate.writer);
        let mut second = tokio::spawn(async move { writer.write(replace("{}")).await });
        let mut piece = [0; 1];
        let result = tokio::select! {
            read = stream.read(&mut piece) => match read {
                // Enough looks passed for a byte to leave: the sweep is over.
                Ok(1) => break,
                _ => second.await,
            },
            result = &mut second => result,
        };
        assert!(matches!(result.unwrap(), Err(WriteError::Closed { .. })), "after {looks} looks");
        assert_eq!(gate.writer.stats().written, 1);
        drop(gate);
        assert_eq!(drain(&mut stream).await.0, 0, "bytes left after {looks} looks");
        refused += 1;
    }
    assert_eq!(refused, 4, "admission, checkout, stamp and write(2) each look; seen {refused}");
}

#[tokio::test]
async fn a_term_that_closes_within_a_body_writes_no_more_of_it() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let body = vec![b'x'; 32 << 20];
    let total = body.len();
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace(body)).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut first = vec![0; 1 << 16];
    stream.read_exact(&mut first).await.unwrap();
    gate.live.close();
    // Reading on makes room in the kernels, so that the gate is asked to write more.
    let (rest, reset) = drain(&mut stream).await;
    assert!(reset, "the connection must be reset, not ended as if the request were whole");
    assert!(first.len() + rest < total, "all of the body left");
    assert!(matches!(write.await.unwrap(), Err(WriteError::Unknown { passed_at: Some(_), .. })));
}

#[tokio::test]
async fn severing_ends_a_write_that_waits_for_its_answer() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace("{}")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await;
    gate.live.close();
    let writer = Arc::clone(&gate.writer);
    // As the election thread does: no runtime around it.
    std::thread::spawn(move || writer.sever()).join().unwrap();
    assert!(matches!(write.await.unwrap(), Err(WriteError::Unknown { .. })));
    assert_eq!(drain(&mut stream).await, (0, true));
    assert!(matches!(gate.writer.write(replace("{}")).await, Err(WriteError::Closed { .. })));
    assert!(gate.writer.settle(Duration::from_secs(60)).await.unanswered);
}

#[tokio::test]
async fn dropping_the_callers_future_drops_no_write() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace("{}")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    read_request(&mut stream).await;
    assert_eq!(gate.writer.in_flight(), 1);
    answer(&mut stream, 200, OBJECT).await;
    let settled = gate.writer.settle(Duration::from_secs(60)).await;
    assert_eq!((settled.unanswered, settled.in_flight), (false, 0));
    assert_eq!(gate.writer.stats().written, 1);
}

#[tokio::test]
async fn settling_reports_a_write_that_is_still_under_way() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace("{}")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await;
    let settled = gate.writer.settle(Duration::from_millis(1)).await;
    assert_eq!((settled.unanswered, settled.in_flight), (true, 1));
    write.abort();
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_and_stays_on_the_account() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), WriterSettings { write_timeout: Duration::from_millis(300), ..SETTINGS });
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace("{}")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(matches!(write.await.unwrap(), Err(WriteError::Unknown { .. })));
    assert!(drain(&mut stream).await.1, "its connection is reset, so that it cannot be delivered later");
    let settled = gate.writer.settle(Duration::from_secs(60)).await;
    assert_eq!((settled.unanswered, settled.in_flight), (true, 0));
    assert_eq!(gate.writer.stats().unknown, 1);
}

#[tokio::test]
async fn a_refusal_is_definite_and_what_a_proxy_may_have_said_is_not() {
    for (code, reason, unanswered) in [
        (409, "Conflict", false),
        (422, "Invalid", false),
        (501, "Unknown", false),
        (408, "Timeout", true),
        (429, "TooManyRequests", true),
        (500, "InternalError", true),
        (504, "Timeout", true),
    ] {
        let (listener, address) = listen().await;
        let gate = gate(plain(address), SETTINGS);
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            let status = format!(
                r#"{{"kind":"Status","status":"Failure","reason":"{reason}","message":"m","code":{code},"details":{{"retryAfterSeconds":2}}}}"#
            );
            answer(&mut stream, code, &status).await;
            stream
        };
        let (written, mut stream) = tokio::join!(gate.writer.write(replace("{}")), peer);
        let Err(WriteError::Status(status)) = written else { panic!("{written:?}") };
        assert_eq!(
            (status.code, status.reason.as_str(), status.retry_after),
            (code, reason, Some(Duration::from_secs(2)))
        );
        assert_eq!(gate.writer.settle(Duration::from_secs(60)).await.unanswered, unanswered, "{code}");
        drop(gate);
        assert_eq!(drain(&mut stream).await.0, 0, "a {code} was sent again");
    }
}

#[tokio::test]
async fn shut_admission_lets_admitted_writes_end() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    let writer = Arc::clone(&gate.writer);
    let write = tokio::spawn(async move { writer.write(replace("{}")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    gate.live.shut_admission();
    assert!(matches!(gate.writer.write(replace("{}")).await, Err(WriteError::Closed { .. })));
    read_request(&mut stream).await;
    answer(&mut stream, 200, OBJECT).await;
    assert!(write.await.unwrap().is_ok());
    assert_eq!((gate.writer.stats().admitted, gate.writer.stats().refused_at_admission), (1, 1));
}

#[tokio::test]
async fn a_pooled_connection_the_server_closed_is_not_used() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    for _ in 0..2 {
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            answer(&mut stream, 200, OBJECT).await;
        };
        let (written, ()) = tokio::join!(gate.writer.write(replace("{}")), peer);
        written.unwrap();
        while gate.writer.connections() > 0 {
            yield_now().await;
        }
    }
    assert_eq!(gate.writer.stats().written, 2);
}

#[tokio::test]
async fn connections_are_bounded_and_reused() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), WriterSettings { connections_max: 1, ..SETTINGS });
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            read_request(&mut stream).await;
            answer(&mut stream, 200, OBJECT).await;
        }
        stream
    };
    let writes = async {
        let write = || gate.writer.write(replace("{}"));
        tokio::join!(write(), write(), write())
    };
    // A second connection would never be accepted, and its write never answered.
    let ((one, two, three), _stream) = tokio::join!(writes, peer);
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(gate.writer.connections(), 1);
}

#[tokio::test]
async fn a_connection_opened_ahead_carries_the_first_write() {
    let (listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    gate.writer.warm_up();
    let (mut stream, _) = listener.accept().await.unwrap();
    let peer = async {
        read_request(&mut stream).await;
        answer(&mut stream, 200, OBJECT).await;
    };
    // A second connection would never be accepted, and its write never answered.
    let (written, ()) = tokio::join!(gate.writer.write(replace("{}")), peer);
    written.unwrap();
    assert_eq!((gate.writer.connections(), gate.writer.stats().admitted), (1, 1));
}

#[tokio::test]
async fn nothing_is_opened_ahead_without_authority() {
    let (_listener, address) = listen().await;
    let gate = gate(plain(address), SETTINGS);
    gate.clock.allow(0);
    gate.writer.warm_up();
    for _ in 0..100 {
        yield_now().await;
        assert_eq!(gate.writer.connections(), 0);
    }
    assert!(!gate.writer.settle(Duration::from_secs(60)).await.unanswered);
}

#[tokio::test]
async fn what_could_not_be_sent_is_told_apart_from_what_may_have_been() {
    let (listener, address) = listen().await;
    drop(listener);
    let gate = gate(plain(address), SETTINGS);
    assert!(matches!(gate.writer.write(replace("{}")).await, Err(WriteError::NotSent { .. })));
    assert!(!gate.writer.settle(Duration::from_secs(60)).await.unanswered);
}

#[tokio::test]
async fn settings_of_zero_are_refused() {
    let clock = peer::CountedClock::endless();
    let cluster = Cluster::new(plain(([127, 0, 0, 1], 1).into()), clock).unwrap();
    let settings = WriterSettings { write_timeout: Duration::ZERO, ..SETTINGS };
    let refused = TermWriter::open(&cluster, peer::live_term(), settings).unwrap_err();
    assert!(matches!(refused, ClusterError::Zero { setting: "write_timeout" }));
}
