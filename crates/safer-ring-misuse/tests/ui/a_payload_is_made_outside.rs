//@ expect: E0277
//@ says: Sealed` is not satisfied
#![allow(unsafe_code, reason = "the trait's function is unsafe")]
use safer_ring_backend::payload::Done;
use safer_ring_backend::{Failure, Payload};
use safer_ring_backend::buf::Lease;

struct Mine;

impl Payload for Mine {
    type Rest = ();
    type Output = ();
    type Lent = ();

    fn unless_cancelled((): ()) -> Result<(), ()> {
        Ok(())
    }

    fn failed(_: Failure, (): ()) {}

    unsafe fn finish(_: Lease, (): (), _: Done) {}
}

fn main() {}
