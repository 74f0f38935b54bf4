//! The switch of the system, `kernel.io_uring_disabled`. It is one for the whole machine, so this test has a binary of its
//! own, and runs in continuous integration or where it is asked for; elsewhere it would break the work of others.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use safer_ring::sys::Errno;
use safer_ring::{
    BackendChoice, BackendKind, Builder, Cause, Mode, Ring, RingOf, SetupError, detect,
};

const OTHER_USER: u32 = 4_242_425;
/// Set, it says that the switch may be turned; `CI` says so too.
const ALLOWED: &str = "SAFER_RING_TEST_SWITCH";

fn strictly<M: Mode>(builder: Builder<M>) -> Result<RingOf<M>, SetupError> {
    builder.backend(BackendChoice::Only(BackendKind::IoUring)).build()
}

fn builder() -> Builder {
    Ring::builder().entries(8)
}

/// Back to what it was, whatever happens.
struct Switch {
    disabled: String,
    group: String,
}

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const GROUP: &str = "/proc/sys/kernel/io_uring_group";

impl Switch {
    /// `None` where it cannot be turned.
    fn take() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).ok();
        let switch = Self { disabled: read(DISABLED)?, group: read(GROUP)? };
        std::fs::write(DISABLED, &switch.disabled).ok().map(|()| switch)
    }

    fn set(&self, disabled: u32, group: i64) {
        std::fs::write(GROUP, group.to_string()).unwrap();
        std::fs::write(DISABLED, disabled.to_string()).unwrap();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Both, even if one fails; a failure here cannot be mended.
        let group = std::fs::write(GROUP, &self.group);
        let disabled = std::fs::write(DISABLED, &self.disabled);
        if let Err(error) = group.and(disabled) {
            eprintln!("{DISABLED} and {GROUP} could not be restored: {error}");
        }
    }
}

/// Another process, since the switch shall be on for as short as can be; and as another user, since root passes 1.
fn look_as(name: &str, group: u32) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env("SAFER_RING_TEST_LOOK", "1");
    command.uid(OTHER_USER).gid(group);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_switch_of_the_system_is_named() {
    const NAME: &str = "the_switch_of_the_system_is_named";
    if std::env::var_os("SAFER_RING_TEST_LOOK").is_some() {
        let outcome = strictly(builder().local()).map(drop);
        let cause = outcome.as_ref().err().and_then(SetupError::cause).map_or("none", Cause::name);
        return println!(
            "cause={cause} {}",
            outcome.map_or_else(|error| error.to_string(), |()| String::new())
        );
    }
    if std::env::var_os(ALLOWED).or_else(|| std::env::var_os("CI")).is_none() {
        return eprintln!("skipped: {DISABLED} is turned in CI, or with {ALLOWED}=1");
    }
    // SAFETY: geteuid(2) takes nothing.
    if unsafe { libc::geteuid() } != 0 || !detect().unwrap().is_io_uring() {
        return eprintln!("skipped: only root, on a kernel with io_uring, can turn {DISABLED}");
    }
    let Some(switch) = Switch::take() else {
        return eprintln!("skipped: {DISABLED} is not there, or not to be written");
    };
    switch.set(2, -1);
    let root = strictly(builder()).unwrap_err();
    let nobody = look_as(NAME, OTHER_USER);
    switch.set(1, -1);
    let outsider = look_as(NAME, OTHER_USER);
    switch.set(1, i64::from(OTHER_USER));
    let member = look_as(NAME, OTHER_USER);
    let stranger = look_as(NAME, OTHER_USER + 1);
    drop(switch);
    assert_eq!((root.cause(), root.errno()), (Some(Cause::Sysctl), Some(Errno::PERM)), "{root}");
    assert_eq!(root.report().unwrap().evidence.io_uring_disabled, Some(2));
    let advice = root.to_string();
    for part in ["kernel.io_uring_disabled=1", "kernel.io_uring_group=GID"] {
        assert!(advice.contains(part), "{part} is not in {advice}");
    }
    assert!(nobody.contains("cause=sysctl"), "{nobody}");
    assert!(
        outsider.contains("cause=sysctl") && outsider.contains("kernel.io_uring_group=GID"),
        "{outsider}"
    );
    assert!(member.contains("cause=none"), "{member}");
    assert!(stranger.contains(&format!("member of group {OTHER_USER}")), "{stranger}");
    assert!(strictly(builder()).is_ok(), "all is as it was");
}
