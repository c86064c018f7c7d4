//! The maps, all pinned by `gate load` under their names, and the counters.

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, SkStorage};
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, generated::bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use portcullis_abi::{
    Address, Counter, Endpoint, MAX_ENDPOINTS, MAX_EXEMPT, MAX_HANDOFFS, Record, Settings, Tally, Tuple,
};

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();

/// What is intercepted. One lookup here is all that connects elsewhere pay.
#[btf_map]
pub static ENDPOINTS: HashMap<Address, Endpoint, MAX_ENDPOINTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static EXEMPT: HashMap<u64, u32, MAX_EXEMPT> = HashMap::new();

#[btf_map]
static RECORDS: SkStorage<Record> = SkStorage::new();

/// A plain hash: an LRU would forget who somebody is to make room for somebody else.
#[btf_map]
pub static HANDOFF: HashMap<Tuple, Record, MAX_HANDOFFS> = HashMap::new();

#[btf_map]
static COUNTERS: PerCpuArray<Tally, { Counter::ALL.len() }> = PerCpuArray::new();

/// What `gate load` wrote; `None` before it did.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0).filter(|settings| settings.version == portcullis_abi::VERSION)
}

/// Whether connects from this cgroup pass.
#[inline(always)]
pub fn is_exempt(cgroup: u64) -> bool {
    EXEMPT.get_ptr(cgroup).is_some()
}

/// The record on `sk`, if there is one.
///
/// # Safety
/// `sk` is the socket of the program's context, checked against null where the context allows null.
#[inline(always)]
pub unsafe fn record_of(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    let map = (&raw const RECORDS).cast_mut().cast();
    unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0).cast::<Record>().as_mut() }
}

/// The record on `sk`, made if need be; `None` where the socket has no room for it.
///
/// # Safety
/// As [`record_of`].
#[inline(always)]
pub unsafe fn new_record_of(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    let map = (&raw const RECORDS).cast_mut().cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), create).cast::<Record>().as_mut() }
}

/// Counts what goes well.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(tally) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's own slot; a lost update to interruption costs one in a statistic.
        unsafe { (*tally).count += 1 };
    }
}

/// Counts a refusal or a failure, and when it was.
#[inline(always)]
pub fn fail(counter: Counter) {
    if let Some(tally) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: as in `count`.
        unsafe {
            (*tally).count += 1;
            (*tally).last = bpf_ktime_get_boot_ns();
        }
    }
}
