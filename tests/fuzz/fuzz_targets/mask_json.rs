//! The JSON masker: whatever arrives, and whatever the policy, it neither panics nor depends on how it was sliced; what it
//! gives is JSON, and what it masked is found again by the write-back guard. The first byte says which policy, and the size
//! of the slices.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{JsonMasker, MaskKey, PlaceholderGuard, Profile, Rules};

/// What is after `apiVersion` and `kind` in each policy.
const POLICIES: [&str; 4] = [
    r#""rules":[]"#,
    r#""defaults":{"how":"partial","helmReleases":"open"}"#,
    r#""rules":[{"groups":["*"],"resources":["*"],"mask":["metadata.labels.*","data.a","**.d*","spec[kind=a].b"],"how":"drop"}]"#,
    r#""rules":[{"groups":["*"],"resources":["*"],"keep":["data.a"],"mask":["**.list[name=*a*].value","spec"],"how":"length"}]"#,
];

static RULES: LazyLock<[Arc<Rules>; 4]> = LazyLock::new(|| {
    POLICIES.map(|policy| {
        let policy = format!(r#"{{"apiVersion":"portcullis.dev/v1alpha1","kind":"MaskPolicy",{policy}}}"#);
        Profile::new(&serde_json::from_str(&policy).unwrap()).unwrap().for_unknown()
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let rules = &RULES[usize::from(first >> 6)];
    let whole = mask(rules, body, body.len().max(1));
    assert_eq!(whole, mask(rules, body, usize::from(first & 0x3f).max(1)));
    if let Some(masked) = whole
        && PlaceholderGuard::find(&masked).is_none()
    {
        let again = mask(rules, &masked, masked.len().max(1));
        assert_eq!(again.as_ref(), Some(&masked), "nothing to mask, nothing to change");
    }
});

/// The masked body; none if it is not JSON.
fn mask(rules: &Arc<Rules>, body: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut masker = JsonMasker::new(Arc::clone(rules), &MaskKey::from_bytes([7; 32]));
    let mut out = Vec::new();
    for slice in body.chunks(size) {
        masker.push(slice, &mut out).ok()?;
    }
    masker.finish(&mut out).ok()?;
    Some(out)
}
