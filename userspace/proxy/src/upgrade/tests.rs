//! A tunnel between two ends in memory, on a clock that stands still unless everybody waits.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use portcullis_access::{Access, AccessConfig, RecordLevel, RoleSet, SystemClock};
use portcullis_codec::websocket::{self, Decoder, Frame, Kind};
use portcullis_identity::{
    Attestation, CgroupId, Gid, Method, NetnsCookie, OriginalDst, Pid, Process, Subject, Uid,
};
use portcullis_mask::{MaskKey, Profile};
use portcullis_record::{Body, Channel, Entry, Found, RecordConfig, Recorder, Recordings, SessionStart};
use tokio::io::{DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::masking::HOLD_BACK;
use super::*;

const SECRET: &str = "AKIAIOSFODNN7EXAMPLE";
const EXEC: &str = "/api/v1/namespaces/demo/pods/shell/exec?command=sh&stdin=true&stdout=true&stderr=true";

/// Everything around a tunnel.
struct Rig {
    dir: tempfile::TempDir,
    recorder: Recorder,
    shared: Shared,
    lease: Lease,
    logged_out: CancellationToken,
}

impl Rig {
    fn new(target: &str, protocol: &'static str, masked: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = RecordConfig { min_free_bytes: 0, ..RecordConfig::new(dir.path().join("recordings")) };
        let recorder = Recorder::open(&config).unwrap();
        let start = SessionStart { subject: &subject(), attestation: &attestation(), target: "demo" };
        let session = recorder.session(start).unwrap();
        let begin = Event::Note { text: "begin".to_owned() };
        let record = RequestRecord::open(session, 1, RecordLevel::Full, &begin).unwrap();
        let headers = HeaderMap::from_iter([
            (http::header::UPGRADE, HeaderValue::from_static("websocket")),
            (http::header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
        ]);
        let profile = Profile::default();
        let masking = masked.then(|| Masking {
            detectors: profile.detectors(),
            key: MaskKey::from_bytes([7; 32]),
            rules: Some(profile.for_unknown()),
        });
        let info = portcullis_kube::classify("GET", target).unwrap();
        let stream = Stream::new(&info, target, &headers, masking, None).unwrap();
        let access = AccessConfig::new(dir.path().join("db"), Default::default());
        let access = Access::open(access, RoleSet::default(), Arc::new(SystemClock)).unwrap();
        let logged_out = CancellationToken::new();
        let lease = Lease::new(None, access.subscribe(), Arc::new(SystemClock), Some(logged_out.clone()));
        Self { dir, recorder, shared: Shared(Mutex::new((stream, record))), lease, logged_out }
    }

    /// Runs the tunnel beside `script`, which has the client's and the server's end; what the tunnel came to, and what
    /// was recorded on `channel`.
    async fn run(
        self,
        channel: Channel,
        script: impl AsyncFnOnce(DuplexStream, DuplexStream, &CancellationToken),
    ) -> (Result<(), TunnelError>, String) {
        let (client, client_end) = duplex(1 << 16);
        let (server, server_end) = duplex(1 << 16);
        let tunnel = carry(client, server, &self.shared, &self.lease);
        let (outcome, ()) = tokio::join!(tunnel, script(client_end, server_end, &self.logged_out));
        let (mut stream, record) = self.shared.0.into_inner().unwrap();
        stream.end(&record).unwrap();
        drop(record);
        self.recorder.shutdown();
        (outcome, recorded(&self.dir, channel))
    }
}

/// What was recorded of the one session on `channel`.
fn recorded(dir: &tempfile::TempDir, channel: Channel) -> String {
    let recordings = Recordings::new(dir.path().join("recordings"));
    let mut recorded = Vec::new();
    for found in recordings.all().unwrap().pop().unwrap().entries().unwrap() {
        if let Found::Entry(Entry { body: Body::Data { channel: of, bytes, .. }, .. }) = found.unwrap()
            && of == channel
        {
            recorded.extend(bytes);
        }
    }
    String::from_utf8(recorded).unwrap()
}

fn message(channel: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::message(&mut out, Kind::Binary, None, &[&[channel], text.as_bytes()]);
    out
}

fn typed(text: &str) -> Vec<u8> {
    from_client(0, text)
}

fn from_client(channel: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::message(&mut out, Kind::Binary, Some([1, 2, 3, 4]), &[&[channel], text.as_bytes()]);
    out
}

/// All that the server's end says until it ends, as `channel:text`, joined.
async fn heard(mut client: DuplexStream) -> Vec<String> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let (mut decoder, mut input, mut heard) = (Decoder::server(), &bytes[..], Vec::<String>::new());
    while let Some(frame) = decoder.next(&mut input).unwrap() {
        match frame {
            Frame::Data(slice) => {
                let (channel, text) = slice.payload.split_first().unwrap();
                let text = std::str::from_utf8(text).unwrap();
                let mark = format!("{channel}:");
                match heard.last_mut().filter(|last| last.starts_with(&mark)) {
                    Some(last) => last.push_str(text),
                    None => heard.push(mark + text),
                }
            }
            Frame::Close { reason, .. } => heard.push(format!("close:{reason}")),
            Frame::Ping(_) | Frame::Pong(_) => {}
        }
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn output_is_held_back_for_fifty_milliseconds_and_no_longer() {
    let rig = Rig::new(EXEC, "v5.channel.k8s.io", true);
    let (outcome, recorded) = rig
        .run(Channel::Stdout, async |mut client, mut server, _| {
            let begun = Instant::now();
            server.write_all(&message(1, "id AKIAIOSF")).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"AKIAIOSF") {
                client.read_buf(&mut seen).await.unwrap();
            }
            assert!(seen.starts_with(&message(1, "id ")), "what is no secret does not wait: {seen:?}");
            let waited = begun.elapsed();
            assert!(waited >= HOLD_BACK && waited < HOLD_BACK + Duration::from_millis(5), "{waited:?}");
            drop(server);
            client.shutdown().await.unwrap();
        })
        .await;
    outcome.unwrap();
    assert_eq!(recorded, "id AKIAIOSF");
}

/// A client's end, and all that came to it.
struct Listener {
    end: DuplexStream,
    seen: Vec<u8>,
}

impl Listener {
    /// Waits until it has heard `words`.
    async fn hears(&mut self, words: &str) {
        while !self.seen.windows(words.len()).any(|heard| heard == words.as_bytes()) {
            assert_ne!(self.end.read_buf(&mut self.seen).await.unwrap(), 0, "{}", self.seen.escape_ascii());
        }
    }
}

/// What one output holds back is neither kept for longer than that, nor given sooner, by what another one says.
async fn held_apart(
    rig: Rig,
    begin: impl AsyncFnOnce(&mut Listener, &mut DuplexStream),
    quiet: u8,
    busy: u8,
) {
    let (outcome, _) = rig
        .run(Channel::Stdout, async |client, mut server, _| {
            let mut client = Listener { end: client, seen: Vec::new() };
            begin(&mut client, &mut server).await;
            let step = HOLD_BACK * 2 / 5;
            server.write_all(&message(quiet, "id AKIAIOSF")).await.unwrap();
            let begun = Instant::now();
            // Words of the busy one all the time, and the first half of a secret not long before the quiet one is due.
            let (first, rest) = SECRET.split_at(12);
            let busy_one = async {
                for said in ["a ", "b ", first, rest, " e\n"] {
                    server.write_all(&message(busy, said)).await.unwrap();
                    tokio::time::sleep(step).await;
                }
            };
            let heard = async {
                client.hears("AKIAIOSF").await;
                let waited = begun.elapsed();
                client.hears(" e\n").await;
                waited
            };
            let ((), waited) = tokio::join!(busy_one, heard);
            assert!(waited >= HOLD_BACK && waited < HOLD_BACK + Duration::from_millis(5), "{waited:?}");
            let rest = [&message(busy, &"*".repeat(SECRET.len()))[2..], rest.as_bytes()];
            let shows = |what: &[u8]| client.seen.windows(what.len()).any(|window| window == what);
            assert_eq!(rest.map(shows), [true, false], "{}", client.seen.escape_ascii());
            drop(server);
            client.end.shutdown().await.unwrap();
        })
        .await;
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_busy_output_does_not_keep_back_what_another_one_holds() {
    let rig = Rig::new(EXEC, "v5.channel.k8s.io", true);
    held_apart(rig, async |_, _| {}, 2, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_to_a_port_does_not_keep_back_what_another_one_holds() {
    let rig =
        Rig::new("/api/v1/namespaces/demo/pods/shell/portforward?ports=80,81", "v4.channel.k8s.io", true);
    let begin = async |client: &mut Listener, server: &mut DuplexStream| {
        for (channel, port) in [(0, "P\0"), (1, "P\0"), (2, "Q\0"), (3, "Q\0")] {
            server.write_all(&message(channel, port)).await.unwrap();
        }
        for channel in [0, 2] {
            client.end.write_all(&from_client(channel, "GET / HTTP/1.0\r\n\r\n")).await.unwrap();
        }
        // Once the requests have gone up.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for channel in [0, 2] {
            let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
            server.write_all(&message(channel, head)).await.unwrap();
        }
    };
    held_apart(rig, begin, 0, 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_client_and_the_recording_get_the_same_mask_and_nothing_comes_after_the_exit() {
    let rig = Rig::new(EXEC, "v5.channel.k8s.io", true);
    let (outcome, recorded) = rig
        .run(Channel::Stdout, async |client, mut server, _| {
            let (first, rest) = SECRET.split_at(7);
            for said in [message(1, "a "), message(1, first), message(1, rest), message(1, " b AKIA")] {
                server.write_all(&said).await.unwrap();
            }
            server.write_all(&message(3, r#"{"status":"Success"}"#)).await.unwrap();
            drop(server);
            let cover = "*".repeat(SECRET.len());
            let expected = [format!("1:a {cover} b AKIA"), r#"3:{"status":"Success"}"#.to_owned()];
            assert_eq!(heard(client).await, expected);
        })
        .await;
    outcome.unwrap();
    assert_eq!(recorded, format!("a {} b AKIA", "*".repeat(SECRET.len())));
}

#[tokio::test(start_paused = true)]
async fn what_is_typed_goes_up_as_it_is_and_is_recorded_masked() {
    for (masked, kept) in [(true, false), (false, true)] {
        let rig = Rig::new(EXEC, "v5.channel.k8s.io", masked);
        let (outcome, recorded) = rig
            .run(Channel::Stdin, async |mut client, mut server, _| {
                let line = format!("export KEY={SECRET}\n");
                for key in line.split_inclusive(|_: char| true) {
                    client.write_all(&typed(key)).await.unwrap();
                }
                client.shutdown().await.unwrap();
                let mut up = Vec::new();
                server.read_to_end(&mut up).await.unwrap();
                let (mut decoder, mut input, mut got) = (Decoder::client(), &up[..], Vec::new());
                while let Some(frame) = decoder.next(&mut input).unwrap() {
                    let Frame::Data(slice) = frame else { continue };
                    got.extend_from_slice(&slice.payload[1..]);
                }
                assert_eq!(String::from_utf8(got).unwrap(), line);
            })
            .await;
        outcome.unwrap();
        assert_eq!(recorded.contains(SECRET), kept, "{recorded}");
        assert!(recorded.starts_with("export KEY=") && recorded.ends_with('\n'), "{recorded}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_not_passed_and_its_client_is_told() {
    let broken = [0xff, 0, 0, 0];
    for server_is_broken in [true, false] {
        let rig = Rig::new(EXEC, "v5.channel.k8s.io", true);
        let (outcome, _) = rig
            .run(Channel::Stdout, async |mut client, mut server, _| {
                server.write_all(&message(1, "fine\n")).await.unwrap();
                if server_is_broken {
                    server.write_all(&[&broken[..], &message(1, SECRET)].concat()).await.unwrap();
                } else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    client.write_all(&broken).await.unwrap();
                }
                let heard = heard(client).await;
                assert_eq!(heard[0], "1:fine\n");
                let told = heard.last().unwrap();
                assert!(told.starts_with("close:portcullis: the stream could not be decoded"), "{heard:?}");
                let mut up = Vec::new();
                server.read_to_end(&mut up).await.unwrap();
                assert_eq!(up, b"", "nothing of it goes up either");
            })
            .await;
        assert!(matches!(outcome, Err(TunnelError::Undecodable(_))), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_access_ends_every_kind_of_stream_in_its_own_words() {
    const WATCH: &str = "/api/v1/namespaces/demo/secrets?watch=true";
    const LOG: &str = "/api/v1/namespaces/demo/pods/shell/log?follow=true";
    let event = r#"{"type":"ADDED","object":{"kind":"Secret","data":{"k":"RkFLRQ=="}}}"#;
    for (target, protocol, said, expected) in [
        (EXEC, "v5.channel.k8s.io", message(1, "$ AKIA"), "$ AKIA"),
        (LOG, "binary.k8s.io", message(b'l', "ine one\n"), "ine one\n"),
        (WATCH, "", event_message(event), r#""kind":"Secret""#),
    ] {
        for masked in [true, false] {
            let rig = Rig::new(target, protocol, masked);
            let (outcome, _) = rig
                .run(Channel::Body, async |client, mut server, logged_out| {
                    server.write_all(&said).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    logged_out.cancel();
                    let heard = heard(client).await.concat();
                    assert!(heard.contains(expected), "{target}: {heard}");
                    assert!(heard.contains("portcullis: access ended"), "{target}: {heard}");
                    assert_eq!(heard.contains("RkFLRQ=="), target == WATCH && !masked, "{target}: {heard}");
                    assert_eq!(heard.contains(r#""type":"ERROR""#), target == WATCH, "{target}: {heard}");
                    drop(server);
                })
                .await;
            assert!(matches!(outcome, Err(TunnelError::Ended(_))), "{target}: {outcome:?}");
        }
    }
}

fn event_message(event: &str) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::message(&mut out, Kind::Text, None, &[event.as_bytes(), b"\n"]);
    out
}

fn subject() -> Subject {
    Subject {
        issuer: "unix".to_owned(),
        id: "1001".to_owned(),
        name: "alice".to_owned(),
        groups: Default::default(),
        method: Method::Unix,
        account: None,
    }
}

fn attestation() -> Attestation {
    Attestation {
        uid: Uid(1001),
        gid: Gid(1001),
        pid: Pid(1),
        cgroup: CgroupId(1),
        netns: NetnsCookie(1),
        comm: "kubectl".to_owned(),
        original_dst: OriginalDst("10.0.0.1:443".parse().unwrap()),
        peer: "10.0.0.9:40000".parse().unwrap(),
        process: Process {
            start_time: 1,
            exe: "/usr/bin/kubectl".into(),
            argv: Vec::new(),
            loginuid: None,
            session_id: None,
            tty: None,
            cwd: None,
        },
    }
}

/// Two ports of one port-forward may number their connections alike: what is said on one does not hide on the other.
#[test]
fn connections_of_two_ports_are_masked_apart() {
    let rig = Rig::new(EXEC, "v5.channel.k8s.io", true);
    let (stream, record) = rig.shared.0.into_inner().unwrap();
    drop(stream);
    let profile = Profile::default();
    let masking = Masking { detectors: profile.detectors(), key: MaskKey::from_bytes([7; 32]), rules: None };
    let mut typed = typed::Typed::new(Some(masking));
    let (start, end) = SECRET.split_at(9);
    for (port, text) in [(80, start), (81, "hello "), (80, end), (80, "\n"), (81, "world\n")] {
        typed.push((port, 0), Channel::Stdin, text.as_bytes(), &record).unwrap();
    }
    typed.finish(&record).unwrap();
    drop(record);
    rig.recorder.shutdown();
    let recorded = recorded(&rig.dir, Channel::Stdin);
    assert!(recorded.contains("portcullis-masked:") && !recorded.contains(end), "{recorded}");
}
