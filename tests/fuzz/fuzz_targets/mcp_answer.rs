//! Answers of MCP servers: whatever arrives, the body neither panics nor depends on how it was sliced, and from what goes on
//! there is nothing more to leave out. The first byte is the size of the slices; its lowest bits, what was asked and how
//! it is answered.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portcullis_mcp::{About, AnswerBody, BodyKind, Era, Message, MessageMasker, Outbound, Passed, Pins};

const LISTS: [&str; 4] = ["tools/list", "resources/list", "resources/templates/list", "prompts/list"];

fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else { return };
    let whole = run(*first, stream, stream.len().max(1));
    assert_eq!(whole, run(*first, stream, usize::from(first >> 5).max(1)));
    let (passed, told, error) = whole;
    if error.is_none() {
        let (again, told_again, error) = run(*first, &passed, passed.len().max(1));
        assert_eq!((again, error), (passed, None));
        assert!(told_again.iter().all(|passed| passed.left_out == 0) && told_again.len() <= told.len());
    }
});

/// What goes on of the body, what is told of it, and why the rest does not go on.
fn run(first: u8, stream: &[u8], size: usize) -> (Vec<u8>, Vec<Passed>, Option<String>) {
    let asked = LISTS.get(usize::from(first & 7)).map(|method| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        Message::read(body.as_bytes()).expect("a message")
    });
    let kind = if first & 8 == 0 { BodyKind::Events } else { BodyKind::Json };
    let era = if first & 16 == 0 { Era::Modern } else { Era::Legacy };
    let visible = |about: About<'_>| !format!("{about:?}").contains('h');
    let pins = Arc::new(Pins::open(None).expect("in memory"));
    let masker = Arc::new(MessageMasker::unmasked());
    let outbound = Outbound::new(asked.as_ref(), era, Arc::new(visible), pins, Arc::clone(&masker), masker);
    let mut body = AnswerBody::new(kind, outbound);
    let (mut out, mut told) = (Vec::new(), Vec::new());
    let pushed = stream.chunks(size).try_for_each(|slice| body.push(slice, &mut out, &mut told));
    let end = pushed.and_then(|()| body.finish(&mut out, &mut told));
    (out, told, end.err().map(|fault| fault.to_string()))
}
