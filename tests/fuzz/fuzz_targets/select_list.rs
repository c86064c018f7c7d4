//! The filter of lists and watches: whatever arrives, it neither panics nor depends on how it was sliced, and what it gives
//! holds no object that is not covered. The first byte is the size of the slices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{Covers, ListFilter};

fuzz_target!(|data: &[u8]| {
    let Some((size, body)) = data.split_first() else { return };
    for make in [ListFilter::list as fn(Covers) -> ListFilter, ListFilter::watch] {
        let whole = run(make, body, body.len().max(1));
        assert_eq!(whole, run(make, body, usize::from(*size).max(1)));
        if let Some(left) = whole {
            assert_eq!(
                run(make, &left, left.len().max(1)).as_ref(),
                Some(&left),
                "nothing more to leave out"
            );
        }
    }
});

/// What is left of the body; none if it is no list or watch.
fn run(make: fn(Covers) -> ListFilter, body: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut filter = make(Box::new(|namespace, name| namespace == "demo" && name == "watched"));
    let mut out = Vec::new();
    for slice in body.chunks(size) {
        filter.push(slice, &mut out).ok()?;
    }
    filter.finish().ok()?;
    Some(out)
}
