//@ expect: E0603
//@ says: module `sealed` is private
struct Mine;

impl safer_ring_backend::payload::sealed::Sealed for Mine {}

fn main() {}
