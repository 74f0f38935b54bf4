//! Random calls: what the rules predict is what the kernel does.

use std::path::Path;

use safer_ring_probe::{Place, predictions};

#[test]
fn whenever_a_rule_predicts_an_error_the_kernel_gives_it() {
    let place = Place::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    for seed in [1, 0x9e37_79b9_7f4a_7c15, 20_261_129] {
        let found = predictions(&place, seed, 4000).unwrap();
        eprintln!(
            "seed {seed}: {} calls, {} predicted, {} failed",
            found.calls, found.predicted, found.failed
        );
        assert!(found.wrong.is_empty(), "seed {seed}:\n{}", found.wrong.join("\n"));
        assert!(found.predicted > 1000 && found.calls == 4000, "{found:?}");
        assert!(found.failed < found.calls, "calls succeed too: {found:?}");
    }
}
