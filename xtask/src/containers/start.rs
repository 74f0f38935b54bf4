//! Commands that start a container or a sandbox.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;

use super::rootfs::Rootfs;

/// A user who has no privileges and no files, on every system.
const NOBODY: u32 = 65_534;
/// Seconds after which a container is ended: longer than any run takes, also on a busy machine.
const LIMIT: &str = "300";
/// Seconds after which podman ends a container itself.
const SOONER: &str = "270";

/// What starts a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// Podman as root.
    Podman,
    /// Podman as an ordinary user.
    Rootless,
    /// gVisor: a kernel of its own in user space.
    Runsc,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Podman => "podman",
            Tool::Rootless => "podman without root",
            Tool::Runsc => "gVisor",
        }
    }

    /// What this machine lacks for it.
    pub(super) fn lacks(self) -> Option<String> {
        let (program, package) = match self {
            Tool::Podman | Tool::Rootless => ("podman", "podman runc"),
            Tool::Runsc => ("runsc", "runsc"),
        };
        if !is_installed(program) {
            return Some(format!("no {program} (Debian: {package})"));
        }
        (self != Tool::Rootless && !is_root()).then(|| "it needs root".to_owned())
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether the effective user is root.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)).is_some_and(|uid| uid == "0")
}

/// Starts programs of a root filesystem.
#[derive(Debug)]
pub(super) struct Starter<'r> {
    rootfs: &'r Rootfs,
    root: PathBuf,
    /// Home of the ordinary user.
    home: PathBuf,
    /// Storage of root's containers, so that those of this machine are left alone.
    storage: PathBuf,
    has_runc: bool,
}

impl Drop for Starter<'_> {
    fn drop(&mut self) {
        // Podman without root leaves a process that keeps its user namespace, and its number in a file. It does no
        // more than that, so it may end at once.
        let file = self.home.join("run/libpod/tmp/pause.pid");
        if let Ok(pid) = std::fs::read_to_string(file) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}

impl<'r> Starter<'r> {
    pub(super) fn new(rootfs: &'r Rootfs) -> Outcome<Starter<'r>> {
        let (home, storage) = (rootfs.beside("home"), rootfs.beside("storage"));
        for path in [&home, &home.join("run"), &storage] {
            std::fs::create_dir_all(path)
                .map_err(|e| format!("cannot make {}: {e}", path.display()))?;
            if is_root() && *path != storage {
                chown(path, Some(NOBODY), Some(NOBODY))
                    .map_err(|e| format!("cannot give away {}: {e}", path.display()))?;
            }
        }
        let root = rootfs.root();
        Ok(Starter { rootfs, root, home, storage, has_runc: is_installed("runc") })
    }

    /// Whether anything can be started with it here.
    pub(super) fn try_out(&self, tool: Tool) -> Outcome {
        self.run(tool, None, &["/safer-ring", "--version"]).map(drop)
    }

    /// Runs a program in a new container; its standard output comes back.
    pub(super) fn run(&self, tool: Tool, profile: Option<&str>, words: &[&str]) -> Outcome<String> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", LIMIT]);
        match tool {
            Tool::Runsc => {
                command.args(["runsc", "--platform=ptrace", "--network=none", "do", "-quiet"]);
                command.arg("-root").arg(&self.root);
            }
            Tool::Podman => {
                command.arg("podman").arg("--root").arg(&self.storage);
                command.arg("--runroot").arg(self.storage.join("run"));
                self.podman(&mut command, profile);
            }
            Tool::Rootless => {
                if is_root() {
                    let id = NOBODY.to_string();
                    command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
                    // What belongs to root's session would be found and could not be used.
                    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
                    command.env("HOME", &self.home).env("XDG_RUNTIME_DIR", self.home.join("run"));
                }
                command.arg("podman");
                self.podman(&mut command, profile);
            }
        }
        command.args(words).current_dir("/").stdin(Stdio::null());
        let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}\n{}", output.status, errors.trim(), said.trim()))
    }

    /// The arguments of podman up to the program.
    fn podman(&self, command: &mut Command, profile: Option<&str>) {
        // Nothing is stored, so the driver that works everywhere will do.
        command.args(["--storage-driver", "vfs", "run", "--rm", "--network", "none"]);
        // Ended from inside: a container outlives a client that is killed.
        command.args(["--timeout", SOONER]);
        // A user or a machine may not be allowed to raise them to what podman wants.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        if self.has_runc {
            // crun refuses machines that mount both versions of cgroups.
            command.args(["--runtime", "runc"]);
        }
        // On SELinux hosts the files of the root would need a label; seccomp is what is tried here.
        command.args(["--security-opt", "label=disable"]);
        if let Some(profile) = profile {
            let path = self.rootfs.beside(profile);
            command.args(["--security-opt", &format!("seccomp={}", path.display())]);
        }
        command.arg("--rootfs").arg(&self.root);
    }
}
