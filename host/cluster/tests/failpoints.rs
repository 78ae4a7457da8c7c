//! A leader that is stopped in the middle of a write, past the end of its authority, and then goes on.
//!
//! Each test starts this very test binary again as a child with `TENURE_STOP_AT`, which makes one write to the parent.
#![cfg(feature = "failpoints")]
#![expect(clippy::unwrap_used, reason = "in a test a surprise should panic where it happens")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::time::{ClockId, clock_gettime};
use tenure_cluster::{Cluster, ResourceKey, TermWriter, Write, WriteError, WriterSettings};
use tenure_election::{Authority, Clock, Instant, LiveTerm, Term};

/// How long the child's authority lasts: enough to come to the failpoint, short enough to wait for.
const AUTHORITY: Duration = Duration::from_secs(8);

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let read = |clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
        };
        Instant { boot: read(ClockId::Boottime), wall: read(ClockId::Realtime) }
    }
}

/// Not a test of its own: what the child does.
#[test]
#[ignore = "started by the other tests"]
fn child_writes_once() {
    let server = std::env::var("SERVER").unwrap();
    let config = kube::Config::new(format!("http://{server}").parse().unwrap());
    let now = SystemClock.now();
    let authority =
        Authority { term: Term::new(7).unwrap(), soft_until: now.after(AUTHORITY), hard_until: now.after(AUTHORITY) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let written = runtime.block_on(async {
        let cluster = Cluster::new(config, Arc::new(SystemClock)).unwrap();
        let settings = WriterSettings {
            // Longer than the pause: what stops the write is to be the gate.
            write_timeout: Duration::from_secs(60),
            margin: Duration::from_secs(1),
            connections_max: 1,
        };
        let writer = TermWriter::open(&cluster, Arc::new(LiveTerm::new(&authority)), settings).unwrap();
        let key = ResourceKey {
            group: String::new(),
            version: "v1".into(),
            plural: "configmaps".into(),
            kind: "ConfigMap".into(),
            namespaced: true,
        };
        writer.write(Write::replace(key, Some("ns"), "a", vec![b'x'; 1000].into())).await
    });
    match written {
        Ok(_) => println!("outcome=written"),
        Err(WriteError::Closed { .. }) => println!("outcome=closed"),
        Err(WriteError::Unknown { .. }) => println!("outcome=unknown"),
        Err(error) => panic!("{error:?}"),
    }
}

/// What reached the server and what the child made of it, after it was stopped at `point` until its authority was over.
fn stop_at(point: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = start(&listener, point);
    let pid = Pid::from_child(&child);
    let started = SystemClock.now();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "the child ended without coming to {point}");
    // The child's authority began before it stopped; this is when it is certainly over. A real pause is what is tested.
    let over = SystemClock.now().after(AUTHORITY);
    while !SystemClock.now().has_reached(over) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(SystemClock.now().boot > started.boot);
    kill_process(pid, Signal::CONT).unwrap();
    let received = receive(&listener, &mut child);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    (received, output)
}

fn start(listener: &TcpListener, point: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_once", "--ignored", "--nocapture"])
        .env("SERVER", listener.local_addr().unwrap().to_string())
        .env("TENURE_STOP_AT", point)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Takes at most one connection, answers a whole request, and returns all that came.
fn receive(listener: &TcpListener, child: &mut Child) -> String {
    listener.set_nonblocking(true).unwrap();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if child.try_wait().unwrap().is_some() {
                    return String::new();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error}"),
        }
    };
    stream.set_nonblocking(false).unwrap();
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return String::from_utf8(received).unwrap(),
            Ok(count) => received.extend_from_slice(&piece[..count]),
        }
        if received.ends_with(&[b'x'; 1000]) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        }
    }
}

#[test]
fn stopped_after_admission_it_writes_nothing() {
    let (received, output) = stop_at("after-admission");
    assert_eq!(received, "");
    assert!(output.contains("outcome=closed"), "{output}");
}

#[test]
fn stopped_with_a_connection_in_hand_it_writes_nothing() {
    let (received, output) = stop_at("after-checkout");
    assert_eq!(received, "");
    assert!(output.contains("outcome=closed"), "{output}");
}

#[test]
fn stopped_before_the_last_look_it_writes_nothing() {
    let (received, output) = stop_at("before-last-look,once");
    assert_eq!(received, "");
    assert!(output.contains("outcome=closed"), "{output}");
}

#[test]
fn stopped_after_the_last_look_it_writes_that_once() {
    let (received, output) = stop_at("after-last-look");
    // The residue that only a fence closes: the look had passed. One write(2), and it is accounted for as written.
    assert_eq!(received.matches("PUT /api/v1/namespaces/ns/configmaps/a").count(), 1, "{received}");
    assert!(output.contains("outcome=written"), "{output}");
}

#[test]
fn stopped_within_a_body_it_never_sends_the_rest() {
    let (received, output) = stop_at("half-body");
    assert!(received.ends_with(&"x".repeat(500)) && !received.contains(&"x".repeat(501)), "{received}");
    assert!(output.contains("outcome=unknown"), "{output}");
}
