//! Masking one message: its fields are walked as the keys of the same object in JSON would be, and what rules say of them
//! there is done here.
//!
//! A field that the tables do not have comes from a newer API server. Its name is none of those that its message has; it
//! passes if it is empty (Go writes what is not set), or if no rule could have anything to say of it whatever else it is
//! called and holds. Else the body is refused, as are objects of kinds that the tables do not have.
//!
//! What has no room for a placeholder is taken out, which Go reads as the empty value: numbers, times, quantities. A
//! message that is masked whole is emptied, a map as well. Lists are masked element by element.

use std::ops::Range;
use std::str;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::edits::Edits;
use super::routes::Routes;
use super::schema::{Kind, TypeId, schema};
use super::wire::{Field, Fields, Wire, fault};
use crate::base64_text::Base64Text;
use crate::detect::Scanner;
use crate::json::KEY_LIMIT;
use crate::opened::Opened;
use crate::placeholder::{Form, How, Mask, Placeholder};
use crate::rules::{Action, NodeId};
use crate::{JsonMasker, MaskError, ProtobufFault};

/// How every envelope begins.
const MAGIC: &[u8] = b"k8s\0";

/// Messages in messages, and objects in objects. Real ones have some fifteen.
const DEPTH: u8 = 64;

/// A walk through one body.
pub(super) struct Walk<'a> {
    body: &'a [u8],
    routes: &'a mut Routes,
    placeholder: &'a mut Placeholder,
    edits: &'a mut Edits,
    depth: u8,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        body: &'a [u8],
        routes: &'a mut Routes,
        placeholder: &'a mut Placeholder,
        edits: &'a mut Edits,
    ) -> Self {
        Self { body, routes, placeholder, edits, depth: 0 }
    }

    /// Masks an object in its envelope (`runtime.Unknown`) that stands at `place`. Returns by how much it grows, as all that
    /// follows does.
    pub(super) fn envelope(&mut self, span: Range<usize>, mut place: NodeId) -> Result<isize, MaskError> {
        if !self.body[span.clone()].starts_with(MAGIC) {
            return Err(fault(span.start, ProtobufFault::Envelope));
        }
        let begin = span.start;
        let [type_meta, raw, encoding, content_type] =
            self.only([1, 2, 3, 4], begin + MAGIC.len()..span.end)?;
        let text =
            |field: &Option<Field>| field.as_ref().map_or(&b""[..], |field| &self.body[field.value.clone()]);
        if !text(&encoding).is_empty() || !text(&content_type).is_empty() {
            return Err(fault(begin, ProtobufFault::Envelope));
        }
        let Some(raw) = raw else { return Ok(0) };
        let type_meta = type_meta.map_or(begin..begin, |field| field.value);
        let [api_version, kind] = self.only([1, 2], type_meta)?;
        let names = [("apiVersion", text(&api_version)), ("kind", text(&kind))];
        let message = match names.map(|(_, name)| str::from_utf8(name)) {
            [Ok(api_version), Ok(kind)] => schema().message(api_version, kind),
            _ => None,
        };
        let rules = self.routes.rules();
        for (key, name) in names {
            if rules.under_key(place, key.as_bytes()) == Action::Name {
                place = rules.named(place, name);
            }
        }
        match message {
            Some(message) => self.nested(&raw, |walk, span| walk.message(span, message, &mut place)),
            None if self.routes.rules().passes(place) => Ok(0),
            None => Err(fault(begin, ProtobufFault::UnknownKind)),
        }
    }

    /// Masks a message of a known type. Fields inlined in JSON stand at the `place` of the one that they are in, and can say
    /// what the object there is.
    pub(super) fn message(
        &mut self,
        span: Range<usize>,
        message: TypeId,
        place: &mut NodeId,
    ) -> Result<isize, MaskError> {
        let message_type = schema().get(message);
        let mut route = self.routes.of(message, *place);
        let mut fields = Fields::new(self.body, span);
        let mut grown = 0;
        while let Some(field) = fields.next()? {
            let Some(index) = message_type.index(field.number) else {
                let empty = field.wire == Wire::Bytes && field.value.is_empty();
                if empty || self.routes.passes_unknown(message, *place, field.wire) {
                    continue;
                }
                return Err(fault(field.start, ProtobufFault::UnknownField));
            };
            let known = &message_type.fields()[index];
            let before = *place;
            match (route.action(index), known.kind) {
                (_, Kind::Message(inner)) if known.inline => {
                    grown += self.nested(&field, |walk, span| walk.message(span, inner, place))?;
                }
                (Action::Name, Kind::String) => {
                    let name = &self.body[self.bytes_of(&field)?];
                    *place = self.routes.rules().named(*place, name);
                }
                (action, kind) if known.map => grown += self.map(&field, kind, action)?,
                (action, kind) => grown += self.value(&field, kind, action, known.name.as_bytes())?,
            }
            if *place != before {
                route = self.routes.of(message, *place);
            }
        }
        Ok(grown)
    }

    /// Masks an entry of a map: a message of a key and a value. What an entry says of the object that the map is does not
    /// count: others may have come before it.
    fn map(&mut self, field: &Field, kind: Kind, action: Action) -> Result<isize, MaskError> {
        let place = match action {
            Action::Keep | Action::Scan | Action::Name => return Ok(0),
            Action::Enter(place) => place,
            Action::Text | Action::Mask(_) | Action::Json | Action::Helm(_) | Action::Quotes => {
                return self.edits.remove(field);
            }
        };
        let bytes = self.bytes_of(field)?;
        let [key, value] = self.only([1, 2], bytes)?;
        let Some(value) = value else { return Ok(0) };
        let key = key.map_or(&b""[..], |key| &self.body[key.value]);
        let rules = self.routes.rules();
        let action =
            if key.len() > KEY_LIMIT { rules.under_long_key(place) } else { rules.under_key(place, key) };
        match action {
            Action::Mask(Mask { how: How::Drop, .. }) => self.edits.remove(field),
            action => self.nested(field, |walk, _| walk.value(&value, kind, action, key)),
        }
    }

    /// Masks one value, or one element of a list. What it is called is a part of what it says.
    fn value(
        &mut self,
        field: &Field,
        kind: Kind,
        action: Action,
        called: &[u8],
    ) -> Result<isize, MaskError> {
        let action = match (action, kind) {
            (Action::Enter(_), Kind::Message(_) | Kind::Raw) => action,
            (Action::Enter(place), _) => self.routes.rules().for_scalar(place),
            _ => action,
        };
        match (action, kind) {
            (Action::Scan, Kind::String) => self.scanned(field, called),
            (Action::Scan, Kind::Strings) => self
                .nested(field, |walk, span| walk.strings(span, &mut |walk, item| walk.scanned(item, called))),
            (Action::Keep | Action::Scan | Action::Name, _) => Ok(0),
            (Action::Mask(Mask { how: How::Drop, .. }), _) | (_, Kind::Number | Kind::Scalar) => {
                self.edits.remove(field)
            }
            (Action::Enter(mut place), Kind::Message(message)) => {
                self.nested(field, |walk, span| walk.message(span, message, &mut place))
            }
            (Action::Enter(place), Kind::Raw) => self.nested(field, |walk, span| walk.extension(span, place)),
            (_, Kind::Raw) => self.nested(field, |walk, span| walk.hidden_extension(span, action)),
            (_, Kind::Message(_)) => self.edits.replace(field, |_| {}),
            (_, Kind::Strings) => self.nested(field, |walk, span| {
                walk.strings(span, &mut |walk, item| walk.text(item, Kind::String, action))
            }),
            (_, Kind::String | Kind::Bytes) => self.text(field, kind, action),
        }
    }

    /// Masks what is in an object of any kind (`runtime.RawExtension`): an envelope, or JSON.
    fn extension(&mut self, span: Range<usize>, place: NodeId) -> Result<isize, MaskError> {
        if self.routes.rules().passes(place) {
            return Ok(0);
        }
        let [content] = self.only([1], span)?;
        let Some(field) = content else { return Ok(0) };
        let content = &self.body[field.value.clone()];
        if content.is_empty() {
            return Ok(0);
        }
        if content.starts_with(MAGIC) {
            return self.nested(&field, |walk, span| walk.envelope(span, place));
        }
        let rules = Arc::clone(self.routes.rules());
        let mut masker = JsonMasker::at(rules, self.placeholder.clone(), place);
        let mut masked = Vec::new();
        let outcome = masker.push(content, &mut masked).and_then(|()| masker.finish(&mut masked));
        outcome.map_err(|_| fault(field.value.start, ProtobufFault::Extension))?;
        self.replaced(&field, &masked)
    }

    /// Masks an object of any kind whole. Some JSON stays.
    fn hidden_extension(&mut self, span: Range<usize>, action: Action) -> Result<isize, MaskError> {
        let [content] = self.only([1], span)?;
        let Some(field) = content else { return Ok(0) };
        let Self { body, placeholder, edits, .. } = self;
        let mask = mask_of(action);
        placeholder.begin(mask.how);
        placeholder.update(&body[field.value.clone()]);
        edits.replace(&field, |out| placeholder.write_json(mask.form, out))
    }

    /// Masks a list of strings in a message of its own.
    fn strings(
        &mut self,
        span: Range<usize>,
        item: &mut dyn FnMut(&mut Self, &Field) -> Result<isize, MaskError>,
    ) -> Result<isize, MaskError> {
        let mut fields = Fields::new(self.body, span);
        let mut grown = 0;
        while let Some(field) = fields.next()? {
            if field.number != 1 {
                return Err(fault(field.start, ProtobufFault::UnknownField));
            }
            grown += item(self, &field)?;
        }
        Ok(grown)
    }

    /// Masks what detectors find in a text.
    fn scanned(&mut self, field: &Field, called: &[u8]) -> Result<isize, MaskError> {
        let value = &self.body[self.bytes_of(field)?];
        let detectors = self.routes.rules().detectors();
        let name_counts = detectors.may_find(called);
        if value.is_empty() || !name_counts && !detectors.may_find(value) {
            return Ok(0);
        }
        let mut scanner = Scanner::new(Arc::clone(detectors), self.placeholder.clone());
        if name_counts {
            scanner.begin_after(&[b"\"", called, b"\":\""].concat());
        }
        let mut masked = Vec::new();
        scanner.push(value, &mut masked);
        scanner.finish(&mut masked);
        self.replaced(field, &masked)
    }

    /// Masks text or bytes. Bytes are base64 in JSON, so that is what rules speak of.
    fn text(&mut self, field: &Field, kind: Kind, action: Action) -> Result<isize, MaskError> {
        let value = &self.body[self.bytes_of(field)?];
        if value.is_empty() {
            return Ok(0);
        }
        let Self { placeholder, edits, .. } = self;
        match (action, kind) {
            (Action::Mask(Mask { form: Form::Base64, how }), Kind::String) => {
                placeholder.begin(how);
                let mut text = Base64Text::default();
                text.push(value, placeholder);
                text.finish(placeholder);
                edits.replace(field, |out| placeholder.write_base64(out))
            }
            (Action::Json | Action::Helm(_) | Action::Quotes, _) => {
                let masked = self.opened(value, kind, action);
                self.replaced(field, &masked)
            }
            _ => {
                placeholder.begin(mask_of(action).how);
                placeholder.update(value);
                edits.replace(field, |out| placeholder.write(out))
            }
        }
    }

    /// What stands for a value that holds a document.
    fn opened(&mut self, value: &[u8], kind: Kind, action: Action) -> Vec<u8> {
        let encoded;
        let value = if kind == Kind::Bytes {
            encoded = STANDARD.encode(value);
            encoded.as_bytes()
        } else {
            value
        };
        let mut masked = Vec::new();
        if let Some(mut opened) = Opened::new(action, self.placeholder) {
            opened.push(value, self.placeholder);
            let spell = |text: &[u8], out: &mut Vec<u8>| out.extend_from_slice(text);
            opened.finish(self.routes.rules(), 0, self.placeholder, spell, &mut masked);
        }
        match kind {
            // A placeholder may be none.
            Kind::Bytes => STANDARD.decode(&masked).unwrap_or(masked),
            _ => masked,
        }
    }

    /// Puts `masked` in place of a field's bytes, if it is something else.
    fn replaced(&mut self, field: &Field, masked: &[u8]) -> Result<isize, MaskError> {
        if self.body[field.value.clone()] == *masked {
            return Ok(0);
        }
        self.edits.replace(field, |out| out.extend_from_slice(masked))
    }

    /// Masks inside of a field, and makes its length fit.
    fn nested(
        &mut self,
        field: &Field,
        inside: impl FnOnce(&mut Self, Range<usize>) -> Result<isize, MaskError>,
    ) -> Result<isize, MaskError> {
        let span = self.bytes_of(field)?;
        if self.depth == DEPTH {
            return Err(fault(field.start, ProtobufFault::TooDeep));
        }
        self.depth += 1;
        let reserved = self.edits.reserve();
        let grown = inside(self, span)?;
        self.depth -= 1;
        self.edits.relength(&reserved, field, grown)
    }

    /// The fields of these numbers, of which a message has no others, and each once at most. What has one meaning only.
    fn only<const N: usize>(
        &self,
        numbers: [u32; N],
        span: Range<usize>,
    ) -> Result<[Option<Field>; N], MaskError> {
        let mut found = [const { None }; N];
        let mut fields = Fields::new(self.body, span);
        while let Some(field) = fields.next()? {
            let index = numbers.iter().position(|number| *number == field.number);
            let index = index.ok_or_else(|| fault(field.start, ProtobufFault::UnknownField))?;
            if found[index].is_some() {
                return Err(fault(field.start, ProtobufFault::Repeated));
            }
            found[index] = Some(field);
        }
        Ok(found)
    }

    /// Where the bytes of a field are that must have some.
    fn bytes_of(&self, field: &Field) -> Result<Range<usize>, MaskError> {
        match field.wire {
            Wire::Bytes => Ok(field.value.clone()),
            Wire::Number => Err(fault(field.start, ProtobufFault::WireType)),
        }
    }
}

/// How something is replaced whole.
fn mask_of(action: Action) -> Mask {
    match action {
        Action::Mask(mask) | Action::Helm(mask) => mask,
        _ => Mask { form: Form::Plain, how: How::Digest },
    }
}
