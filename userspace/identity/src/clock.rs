//! Wall-clock time, injected: tokens carry wall-clock times, and no test may sleep until one runs out.

use std::sync::Arc;

use jiff::Timestamp;

/// What time it is. Production passes `Arc::new(Timestamp::now)`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
