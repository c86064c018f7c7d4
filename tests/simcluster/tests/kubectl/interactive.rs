//! Commands that do not end by themselves, or that want a terminal. They are waited for by what they print, never by
//! time, except for a last deadline.

use std::fs::File;
use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{Kubectl, Outcome};

/// A scene: what went wrong and what was printed until then, if anything did.
pub(crate) type Scene = fn(&Kubectl) -> Result<(), (String, Outcome)>;

/// All scenes with their names.
pub(crate) const SCENES: &[(&str, Scene)] = &[
    ("get secrets -w", watch_table),
    ("get configmaps -w -o yaml --output-watch-events", watch_objects),
    ("logs -f shell", follow),
    ("attach shell", attach),
    ("exec -it shell -- sh", terminal),
    ("attach -it echo", attach_terminal),
    ("run -it --rm", run_terminal),
    ("port-forward pod/web", forward),
    ("port-forward pod/web to a closed port", forward_refused),
    ("exec and port-forward over SPDY", over_spdy),
    ("exec and port-forward over WebSocket, where kubectl can", over_websocket),
];

/// How long a scene may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running kubectl and what it prints.
struct Running {
    child: Child,
    lines: Receiver<Vec<u8>>,
    printed: String,
    keyboard: Option<File>,
}

impl Running {
    fn start(kubectl: &Kubectl, arguments: &str) -> Running {
        Running::start_with(kubectl, arguments, &[])
    }

    fn start_with(kubectl: &Kubectl, arguments: &str, environment: &[(&str, &str)]) -> Running {
        let mut command = kubectl.command(&kubectl.program, &words(arguments));
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let (sender, lines) = channel();
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("piped"));
        for output in [stdout, stderr] {
            let sender = sender.clone();
            std::thread::spawn(move || pump(output, &sender));
        }
        Running { child, lines, printed: String::new(), keyboard: None }
    }

    /// On a pseudo-terminal of 24 by 80.
    fn on_terminal(kubectl: &Kubectl, arguments: &str) -> Running {
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).expect("a pseudo-terminal");
        let mut all = vec!["--ctty".to_owned(), kubectl.program.to_string_lossy().into_owned()];
        all.extend(words(arguments));
        let mut command = kubectl.command("setsid".as_ref(), &all);
        let end = || pty.slave.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("setsid starts");
        drop(command);
        drop(pty.slave);
        let keyboard = File::from(pty.master);
        let screen = keyboard.try_clone().expect("a descriptor");
        let (sender, lines) = channel();
        std::thread::spawn(move || pump(screen, &sender));
        Running { child, lines, printed: String::new(), keyboard: Some(keyboard) }
    }

    /// Waits until kubectl has printed `piece`, and forgets everything up to there.
    fn expect(&mut self, piece: &str) -> Result<String, (String, Outcome)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.printed.find(piece) {
                let seen = self.printed[..at + piece.len()].to_owned();
                self.printed.drain(..at + piece.len());
                return Ok(seen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(bytes) => self.printed.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => return Err(self.failed(&format!("{piece:?} did not come"))),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(&format!("it ended before {piece:?} came")));
                }
            }
        }
    }

    fn keys(&mut self, text: &str) {
        self.keyboard.as_mut().expect("a terminal").write_all(text.as_bytes()).expect("typed");
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(self.keyboard.as_ref().expect("a terminal").as_fd(), size)
            .expect("resized");
    }

    /// Waits for the end and its exit code.
    fn end(mut self, wanted: i32) -> Result<(), (String, Outcome)> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(bytes) => self.printed.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => return Err(self.failed("it did not end")),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let code = self.child.wait().expect("kubectl ends").code().unwrap_or(-1);
        if code == wanted { Ok(()) } else { Err(self.failed(&format!("exit code {code}, wanted {wanted}"))) }
    }

    fn failed(&mut self, why: &str) -> (String, Outcome) {
        (why.to_owned(), Outcome { code: -1, stdout: self.printed.clone(), stderr: String::new() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn watch_table(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut watch = Running::start(kubectl, "get secrets -w");
    watch.expect("web-tls")?;
    run(kubectl, "create secret generic watched --from-literal=a=b")?;
    watch.expect("watched                      Opaque")?;
    run(kubectl, "label secret watched seen=1")?;
    watch.expect("watched                      Opaque")?;
    run(kubectl, "delete secret watched")?;
    watch.expect("watched                      Opaque").map(drop)
}

fn watch_objects(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut watch = Running::start(kubectl, "get configmaps -w -o yaml --output-watch-events");
    watch.expect("name: app-config")?;
    run(kubectl, "create configmap watched --from-literal=a=b")?;
    watch.expect("name: watched")?;
    watch.expect("type: ADDED")?;
    run(kubectl, "delete configmap watched")?;
    watch.expect("name: watched")?;
    watch.expect("type: DELETED").map(drop)
}

fn follow(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut logs = Running::start(kubectl, "logs -f shell --tail=2");
    logs.expect("line 19\nline 20\nline 21\nline 22\n").map(drop)
}

fn attach(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut attached = Running::start(kubectl, "attach shell");
    attached.expect("line 21\nline 22\n").map(drop)
}

fn terminal(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut shell = Running::on_terminal(kubectl, "exec -it shell -- sh");
    shell.expect("$ ")?;
    shell.keys("stty size; echo $((40+2))\r");
    shell.expect("24 80\r\n42\r\n")?;
    shell.resize(40, 120);
    // The new size takes its own way; ask until it has arrived.
    shell.keys("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo re''sized\r");
    shell.expect("resized\r\n")?;
    // Once the child says so, the interrupt finds it and not a shell that is about to start it.
    shell.keys("sh -c 'echo star\"\"ted; exec sleep 60'\r");
    shell.expect("started\r\n")?;
    shell.keys("\u{3}");
    shell.expect("$ ")?;
    shell.keys("test -t 0 && echo is''atty; exit 3\r");
    shell.expect("isatty\r\n")?;
    shell.expect("command terminated with exit code 3")?;
    shell.end(3)
}

fn attach_terminal(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut attached = Running::on_terminal(kubectl, "attach -it echo -c cat");
    attached.expect("If you don't see a command prompt, try pressing enter.")?;
    attached.keys("typed\r");
    attached.expect("typed\r\ntyped\r\n")?;
    attached.keys("\u{4}");
    attached.expect("Session ended")?;
    attached.end(0)
}

fn run_terminal(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut shell = Running::on_terminal(
        kubectl,
        "run once -it --rm --restart=Never --image=registry.example.test/run:1 -- sh",
    );
    shell.expect("$ ")?;
    shell.keys("echo in''side; exit 0\r");
    shell.expect("inside\r\n")?;
    shell.expect("pod \"once\" deleted")?;
    shell.end(0)
}

fn forward(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut forward = Running::start(kubectl, "port-forward pod/web :8080");
    let port = local_port(&mut forward)?;
    // Two connections: streams come in pairs that must not be mixed up.
    for _ in 0..2 {
        let answer = get(port).map_err(|error| forward.failed(&error.to_string()))?;
        if !answer.ends_with("hello-from-web\n") {
            return Err(forward.failed(&answer));
        }
    }
    Ok(())
}

fn forward_refused(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    let mut forward = Running::start(kubectl, "port-forward pod/web :9999");
    let port = local_port(&mut forward)?;
    let answer = get(port).unwrap_or_default();
    if !answer.is_empty() {
        return Err(forward.failed(&answer));
    }
    forward.expect("connection refused").map(drop)
}

fn over_spdy(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    over(kubectl, "false")
}

fn over_websocket(kubectl: &Kubectl) -> Result<(), (String, Outcome)> {
    over(kubectl, "true")
}

/// Versions in the middle speak both protocols, as these variables say.
fn over(kubectl: &Kubectl, websockets: &str) -> Result<(), (String, Outcome)> {
    let environment =
        [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)];
    let mut exec = Running::start_with(kubectl, "exec shell -- seq 3", &environment);
    exec.expect("1\n2\n3\n")?;
    exec.end(0)?;
    let mut forward = Running::start_with(kubectl, "port-forward pod/web :8080", &environment);
    let port = local_port(&mut forward)?;
    let answer = get(port).map_err(|error| forward.failed(&error.to_string()))?;
    if answer.ends_with("hello-from-web\n") { Ok(()) } else { Err(forward.failed(&answer)) }
}

fn local_port(forward: &mut Running) -> Result<u16, (String, Outcome)> {
    forward.expect("Forwarding from 127.0.0.1:")?;
    let port = forward.expect(" ->")?;
    port.trim_end_matches(" ->").parse().map_err(|_| forward.failed("no port"))
}

fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn run(kubectl: &Kubectl, arguments: &str) -> Result<(), (String, Outcome)> {
    let outcome = kubectl.run(&words(arguments), "");
    if outcome.code == 0 { Ok(()) } else { Err((format!("kubectl {arguments}"), outcome)) }
}

fn words(arguments: &str) -> Vec<String> {
    arguments.split(' ').map(str::to_owned).collect()
}

fn pump(mut from: impl Read, to: &std::sync::mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0_u8; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                if to.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A terminal that everybody has left.
            Err(_) => return,
        }
    }
}
