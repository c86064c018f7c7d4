//! The gate: Portcullis's kernel programs, one file a hook.
//!
//! ```text
//! connect4, connect6   record who connects to a target on the client's socket; send it to the proxy
//! sockops              hand the record from the client's socket to the accepted one
//! peername             let the client see where it wanted to go
//! bind                 keep the proxy's ports for the proxy while it is down
//! egress               drop what reaches a target by any other way
//! ```
//!
//! Everything that is not certain is refused: see [`maps::fail`] and its callers.
#![no_std]
#![no_main]

mod bind;
mod caller;
mod connect4;
mod connect6;
mod egress;
mod maps;
mod peername;
mod sockops;

/// None of the helpers that we call is reserved to GPL programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier accepts no program that could come here.
    loop {}
}
