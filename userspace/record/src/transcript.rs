//! A recording as a person reads it: one line an event, and what streams said line by line. Safe on any terminal.

use std::collections::BTreeMap;
use std::io::{self, Write};

use portcullis_identity::Subject;

use crate::conversation::Conversation;
use crate::event::{Action, Channel, EndReason, Event, McpCall, SessionStarted};
use crate::recording::Recording;
use crate::safe::Safe;
use crate::summary::readable;
use crate::walk::{Body, Found};
use crate::{RecordError, StreamKind};

/// A line of a stream is broken here even if it has no end, so that memory is bounded.
const MAX_LINE: usize = 4096;

impl Recording {
    /// Writes the transcript. Streams are always in it; bodies of requests and answers only `with_bodies`.
    ///
    /// # Errors
    /// [`RecordError::Io`] from reading, [`RecordError::Output`] from `out`.
    pub fn render_text(&self, out: &mut impl Write, with_bodies: bool) -> Result<(), RecordError> {
        let mut transcript = Transcript { out, with_bodies, lines: BTreeMap::new(), calls: BTreeMap::new() };
        writeln!(transcript.out, "session    {}", self.id())?;
        for found in self.entries()? {
            match found? {
                Found::Entry(entry) => transcript.entry(entry.offset_us, &entry.body)?,
                Found::Damage(damage) => {
                    transcript.flush(|_| true)?;
                    writeln!(transcript.out, "!! {damage}")?;
                }
            }
        }
        transcript.flush(|_| true)?;
        Ok(())
    }
}

struct Transcript<'a, W> {
    out: &'a mut W,
    with_bodies: bool,
    /// The beginnings of lines, by request and channel.
    lines: BTreeMap<(u32, Channel), Line>,
    /// The calls of MCP that are under way, and their answers once those have begun.
    calls: BTreeMap<u32, Option<Conversation>>,
}

#[derive(Default)]
struct Line {
    /// When the last of it came.
    offset_us: u64,
    text: Vec<u8>,
}

impl<W: Write> Transcript<'_, W> {
    fn entry(&mut self, offset_us: u64, body: &Body) -> io::Result<()> {
        match body {
            Body::Event(Event::SessionStarted(start)) => self.start(start),
            Body::Event(event) => {
                // What a stream left without the end of a line comes before what ends the stream.
                if let Event::Exit { request, .. }
                | Event::StreamClosed { request }
                | Event::Cut { request, .. } = event
                {
                    self.flush(|of| of == *request)?;
                }
                self.converse(offset_us, event)?;
                let text = describe(event);
                self.line(offset_us, &text)
            }
            Body::Data { request, channel: Channel::Body, bytes } if self.calls.contains_key(request) => {
                let said = match self.calls.get_mut(request) {
                    Some(Some(conversation)) => conversation.push(bytes),
                    _ => Vec::new(),
                };
                self.said(offset_us, *request, &said)?;
                if self.with_bodies { self.data(offset_us, *request, Channel::Body, bytes) } else { Ok(()) }
            }
            Body::Data { channel: Channel::Body | Channel::ReqBody, .. } if !self.with_bodies => Ok(()),
            Body::Data { request, channel, bytes } => self.data(offset_us, *request, *channel, bytes),
            Body::Unknown { kind } => {
                self.line(offset_us, &format!("(a frame of kind {kind}, of a later version)"))
            }
        }
    }

    /// Follows the answer to a call from its beginning to its end.
    fn converse(&mut self, offset_us: u64, event: &Event) -> io::Result<()> {
        match event {
            Event::RequestDecided { request, call: Some(_), decision: Action::Allow, .. } => {
                self.calls.insert(*request, None);
            }
            Event::ResponseStarted { request, content_type, .. } if self.calls.contains_key(request) => {
                let conversation = Conversation::new(content_type.as_deref().unwrap_or_default());
                self.calls.insert(*request, Some(conversation));
            }
            Event::RequestEnded { request, .. } => {
                let said = self.calls.remove(request).flatten().map_or(Vec::new(), Conversation::finish);
                self.said(offset_us, *request, &said)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn said(&mut self, offset_us: u64, request: u32, said: &[String]) -> io::Result<()> {
        said.iter().try_for_each(|said| self.line(offset_us, &format!("#{request} server | {said}")))
    }

    fn start(&mut self, start: &SessionStarted) -> io::Result<()> {
        let SessionStarted { subject, attestation, target, host, .. } = start;
        let process = &attestation.process;
        let login = process.loginuid.map_or_else(|| "none".to_owned(), |uid| uid.to_string());
        let tty = process.tty.as_deref().unwrap_or("none");
        writeln!(self.out, "subject    {}", who(subject))?;
        writeln!(self.out, "command    {}", Safe(&process.argv.join(" ")))?;
        writeln!(
            self.out,
            "process    {} pid {}, uid {}, login uid {login}, tty {}",
            Safe(&process.exe.to_string_lossy().as_ref()),
            attestation.pid,
            attestation.uid,
            Safe(tty),
        )?;
        writeln!(self.out, "target     {}, from host {}", Safe(target), Safe(host))?;
        writeln!(self.out, "started    {}", start.started_at)
    }

    fn data(&mut self, offset_us: u64, request: u32, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        // Enter in a terminal sends a carriage return; what programs print ends in a line feed.
        let end_of_line: &[u8] = if channel == Channel::Stdin { b"\r\n" } else { b"\n" };
        for piece in bytes.split_inclusive(|byte| end_of_line.contains(byte)) {
            let line = self.lines.entry((request, channel)).or_default();
            line.offset_us = offset_us;
            line.text.extend_from_slice(piece);
            if line.text.len() >= MAX_LINE || line.text.last().is_some_and(|byte| end_of_line.contains(byte))
            {
                self.flush_line(request, channel)?;
            }
        }
        Ok(())
    }

    /// Prints the lines without an end of the requests that are `meant`.
    fn flush(&mut self, meant: impl Fn(u32) -> bool) -> io::Result<()> {
        let keys: Vec<_> = self.lines.keys().filter(|(request, _)| meant(*request)).copied().collect();
        keys.into_iter().try_for_each(|(request, channel)| self.flush_line(request, channel))
    }

    fn flush_line(&mut self, request: u32, channel: Channel) -> io::Result<()> {
        let Some(line) = self.lines.remove(&(request, channel)) else { return Ok(()) };
        let text = line.text.strip_suffix(b"\n").unwrap_or(&line.text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.line(line.offset_us, &format!("#{request} {:6} | {}", channel.name(), Safe(text)))
    }

    /// `text` is safe.
    fn line(&mut self, offset_us: u64, text: &str) -> io::Result<()> {
        writeln!(self.out, "{:>6}.{:03}  {text}", offset_us / 1_000_000, offset_us / 1000 % 1000)
    }
}

fn who(subject: &Subject) -> String {
    let groups = subject.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let Subject { issuer, id, name, .. } = subject;
    format!("{} ({}:{}), groups {}", Safe(name), Safe(issuer), Safe(id), Safe(&groups))
}

/// An event in a line of safe text.
fn describe(event: &Event) -> String {
    match event {
        Event::SessionStarted(start) => format!("session of {}", who(&start.subject)),
        Event::SessionEnded { reason: EndReason::Idle } => {
            "session ended: its process connected no more".to_owned()
        }
        Event::SessionEnded { reason: EndReason::Shutdown } => {
            "session ended: the recorder stopped".to_owned()
        }
        Event::ConnectionOpened { connection, peer, original_dst, alpn } => {
            let alpn = alpn.as_deref().unwrap_or("no ALPN");
            format!("connection {connection} from {peer} to {original_dst}, {}", Safe(alpn))
        }
        Event::ConnectionClosed { connection, error } => {
            format!("connection {connection} closed{}", because(error.as_deref()))
        }
        Event::RequestDecided { .. } => describe_decision(event),
        Event::Unmasked { request, subject, role, paths } => {
            let paths = paths.iter().map(|path| Safe(path).to_string()).collect::<Vec<_>>().join(", ");
            format!("#{request} UNMASKED for {} by role {}: {paths}", Safe(subject), Safe(role))
        }
        Event::HoldBegun { request, method, path, call, role, rule, .. } => {
            let what = what(method, path, call.as_deref());
            format!("#{request} {what} is to be reviewed: role {}, rule {rule}", Safe(role))
        }
        Event::Held { request, hold, diff, .. } => {
            let diff: String = diff
                .as_deref()
                .map(|diff| diff.lines().map(|line| format!("\n{:16}{}", "", Safe(line))).collect())
                .unwrap_or_default();
            format!("#{request} waits as {}{diff}", Safe(hold))
        }
        Event::InputRequired { request, hold } => {
            format!("#{request} answered: the client is to come back for {}", Safe(hold))
        }
        Event::HoldEnded { request, hold, outcome, by, comment } => {
            let by = if by.is_empty() { String::new() } else { format!(" by {}", Safe(&by.join(", "))) };
            format!("#{request} {} {}{by}{}", Safe(hold), Safe(outcome), because(comment.as_deref()))
        }
        Event::Restored { request, count, paths } => {
            let more = if *count > paths.len() { ", …" } else { "" };
            format!("#{request} {count} masked values restored: {}{more}", Safe(&paths.join(", ")))
        }
        Event::ResponseStarted { request, status, content_type, masked } => {
            let masked = if *masked { ", masked" } else { "" };
            let content_type =
                content_type.as_deref().map_or_else(String::new, |it| format!(" {}", Safe(it)));
            format!("#{request} answer {status}{content_type}{masked}")
        }
        Event::RequestEnded { request, bytes_in, bytes_out, duration_us, left_out, error, .. } => {
            let duration =
                readable(jiff::SignedDuration::from_micros((*duration_us).min(1 << 62).cast_signed()));
            let error = because(error.as_deref());
            let left_out = match left_out {
                0 => String::new(),
                1 => ", 1 object left out".to_owned(),
                more => format!(", {more} objects left out"),
            };
            format!(
                "#{request} done in {duration}, {bytes_in} bytes in, {bytes_out} bytes out{left_out}{error}"
            )
        }
        Event::StreamOpened { request, kind, protocol, command, container, tty } => {
            let kind = match kind {
                StreamKind::Exec => "exec",
                StreamKind::Attach => "attach",
                StreamKind::PortForward => "port-forward",
                StreamKind::Log => "log",
                StreamKind::Watch => "watch",
            };
            let command = if command.is_empty() { String::new() } else { format!(" {}", words(command)) };
            let container =
                container.as_deref().map_or_else(String::new, |name| format!(" in container {}", Safe(name)));
            let protocol =
                if protocol.is_empty() { String::new() } else { format!(" by {}", Safe(protocol)) };
            let tty = if *tty { ", with a terminal" } else { "" };
            format!("#{request} {kind}{command}{container}{protocol}{tty}")
        }
        Event::Resize { request, width, height } => format!("#{request} terminal is {width}x{height}"),
        Event::Exit { request, code, message } => match code {
            Some(code) => format!("#{request} exit code {code}{}", because(Some(message))),
            None => format!("#{request} exit{}", because(Some(message))),
        },
        Event::StreamClosed { request } => format!("#{request} stream closed"),
        Event::Cut { request, reason } => format!("#{request} CUT: {}", Safe(reason)),
        Event::Refused { request: Some(request), reason } => format!("#{request} REFUSED: {}", Safe(reason)),
        Event::Refused { request: None, reason } => format!("REFUSED: {}", Safe(reason)),
        Event::Note { text } => format!("note: {}", Safe(text)),
        Event::Unknown(map) => {
            let fields =
                map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
            format!("(of a later version) {}", Safe(&fields))
        }
    }
}

fn describe_decision(event: &Event) -> String {
    let Event::RequestDecided {
        request,
        method,
        path,
        command,
        call,
        decision,
        role,
        rule,
        grant,
        reason,
        ..
    } = event
    else {
        return String::new();
    };
    let command = if command.is_empty() { String::new() } else { format!(" (command {})", words(command)) };
    let decision = match decision {
        Action::Allow => "allowed",
        Action::Deny => "DENIED",
    };
    let by = [
        role.as_ref().map(|role| format!("role {}", Safe(role))),
        rule.map(|rule| format!("rule {rule}")),
        grant.as_ref().map(|grant| format!("grant {}", Safe(grant))),
    ];
    let by = by.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    let because = because(reason.as_deref());
    let what = what(method, path, call.as_deref());
    format!("#{request} {what}{command} {decision}{by}{because}")
}

/// A request by its line, or by its message where it is one to an MCP server.
fn what(method: &str, path: &str, call: Option<&McpCall>) -> String {
    match call {
        Some(call) => format!("client | {}", asked(call)),
        None => format!("{} {}", Safe(method), Safe(path)),
    }
}

/// What a client asks of an MCP server: `tools/call search {"query":"x"}`.
fn asked(call: &McpCall) -> String {
    let name = if call.name.is_empty() { String::new() } else { format!(" {}", Safe(&call.name)) };
    let arguments = call
        .arguments
        .as_ref()
        .map(|arguments| format!(" {}", Safe(&arguments.to_string())))
        .unwrap_or_default();
    format!("{}{name}{arguments}", Safe(&call.method))
}

/// A command line in which one word is told from two.
fn words(argv: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c))
    };
    let word = |word: &String| {
        if plain(word) { word.clone() } else { format!("'{}'", Safe(&word.replace('\'', r"'\''"))) }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn because(reason: Option<&str>) -> String {
    reason
        .filter(|reason| !reason.is_empty())
        .map_or_else(String::new, |reason| format!(": {}", Safe(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_word_by_word() {
        let argv = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words(&argv(&["ls", "-l", "/var/log"])), "ls -l /var/log");
        assert_eq!(words(&argv(&["sh", "-c", "rm 'a b'; ls", ""])), r"sh -c 'rm '\''a b'\''; ls' ''");
        let decided = r#"{"type":"requestDecided","request":3,"connection":1,"auditId":"a","method":"POST","path":"/x","verb":"create","decision":"deny","command":["rm","-rf","a b"]}"#;
        let told = describe(&serde_json::from_str(decided).unwrap());
        assert_eq!(told, "#3 POST /x (command rm -rf 'a b') DENIED");
    }

    #[test]
    fn a_call_is_shown_with_its_arguments() {
        let decided = r#"{"type":"requestDecided","request":3,"connection":1,"auditId":"a","method":"POST","path":"/mcp","verb":"tools/call","call":{"method":"tools/call","item":"tool","name":"search","id":7,"arguments":{"query":"x"}},"decision":"allow","role":"r","rule":0}"#;
        let told = describe(&serde_json::from_str(decided).unwrap());
        assert_eq!(told, r#"#3 client | tools/call search {"query":"x"} allowed by role r, rule 0"#);
    }

    #[test]
    fn a_held_call_is_shown_as_a_call_with_its_arguments_below() {
        let begun = r#"{"type":"holdBegun","request":3,"connection":1,"method":"POST","path":"/mcp","call":{"method":"tools/call","item":"tool","name":"restart","id":7,"arguments":{"name":"x"}},"role":"r","rule":0}"#;
        let told = describe(&serde_json::from_str(begun).unwrap());
        assert_eq!(told, r#"#3 client | tools/call restart {"name":"x"} is to be reviewed: role r, rule 0"#);
        let held = r#"{"type":"held","request":3,"hold":"h-1","digest":"d","diff":"arguments: {\n  \"name\": \"x\"\n}"}"#;
        let told = describe(&serde_json::from_str(held).unwrap());
        let below: Vec<_> = told.lines().skip(1).map(|line| line.split_at(16)).collect();
        let margin = " ".repeat(16);
        assert_eq!(below, [(&*margin, "arguments: {"), (&*margin, r#"  "name": "x""#), (&*margin, "}")]);
    }

    #[test]
    fn an_answer_without_a_type_is_shown_without_one() {
        let told = |event| describe(&serde_json::from_str(event).unwrap());
        let upgraded = r#"{"type":"responseStarted","request":3,"status":101,"masked":true}"#;
        assert_eq!(told(upgraded), "#3 answer 101, masked");
        let text = r#"{"type":"responseStarted","request":3,"status":200,"contentType":"text/plain","masked":false}"#;
        assert_eq!(told(text), "#3 answer 200 text/plain");
    }

    #[test]
    fn what_was_left_out_is_counted() {
        let ended =
            r#"{"type":"requestEnded","request":3,"bytesIn":0,"bytesOut":9,"durationUs":1000,"leftOut":7}"#;
        let told = describe(&serde_json::from_str(ended).unwrap());
        assert!(told.ends_with("0 bytes in, 9 bytes out, 7 objects left out"), "{told}");
    }
}
