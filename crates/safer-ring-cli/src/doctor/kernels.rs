//! Faults that ranges of kernels are known for. By their numbers: a distribution may have mended one without a new number,
//! so these are told and change nothing.

use super::findings::Fault;

/// Major, minor, patch.
pub(crate) type Version = (u32, u32, u32);

/// A fault and the kernels that have it.
struct Known {
    fault: Fault,
    has_it: fn(Version) -> bool,
}

const KNOWN: &[Known] = &[
    Known {
        fault: Fault {
            id: "cqe-mixed-twice",
            kernels: "6.18 to 7.2",
            what: "a full completion queue with IORING_SETUP_CQE_MIXED delivers a completion twice",
            here: "no concern: this library does not use it",
            source: "measured on 6.18.44 and 7.2.13; gone in 7.3.4",
        },
        has_it: |version| ((6, 18, 0)..(7, 3, 0)).contains(&version),
    },
    Known {
        fault: Fault {
            id: "eventfd-read-waits",
            kernels: "6.15.4",
            what: "a read of an eventfd or timerfd waits for as many bytes as were asked for",
            here: "ask for 8 bytes, or upgrade",
            source: "github.com/ghostty-org/ghostty/pull/7731",
        },
        has_it: |version| version == (6, 15, 4),
    },
    Known {
        fault: Fault {
            id: "fragmented-memory",
            kernels: "before 6.14, but for 6.13.9, 6.12.21, 6.6.86 and later ones of these",
            what: "a ring with many entries fails with ENOMEM when memory is fragmented",
            here: "fewer entries are tried; ask for fewer, or upgrade",
            source: "github.com/scylladb/seastar/issues/2728",
        },
        has_it: |version| match version {
            (6, 13, patch) => patch < 9,
            (6, 12, patch) => patch < 21,
            (6, 6, patch) => patch < 86,
            _ => version < (6, 14, 0),
        },
    },
    Known {
        fault: Fault {
            id: "poll-rework",
            kernels: "5.15.70 to 5.15.86",
            what: "operations that wait for readiness can hang, since a rework of polling was taken in part",
            here: "upgrade: sockets and pipes may hang",
            source: "github.com/canonical/lxd/issues/11228",
        },
        has_it: |version| ((5, 15, 70)..=(5, 15, 86)).contains(&version),
    },
    Known {
        fault: Fault {
            id: "sqpoll-spins",
            kernels: "5.10 before 5.10.186",
            what: "the thread of IORING_SETUP_SQPOLL uses a whole CPU",
            here: "do not use Builder::sqpoll, or upgrade",
            source: "github.com/libuv/libuv/pull/4093",
        },
        has_it: |version| ((5, 10, 0)..(5, 10, 186)).contains(&version),
    },
];

/// Those that a kernel of this version may have.
pub(crate) fn faults(version: Version) -> Vec<Fault> {
    let here = KNOWN.iter().filter(|known| (known.has_it)(version));
    here.map(|known| known.fault.clone()).collect()
}

/// The version of mainline that a kernel is made from, by `uname -r`, `uname -v` and `/proc/version_signature`.
///
/// Some distributions keep the third number at 0. Debian has the true one in the second, Ubuntu in the third. Where it is
/// nowhere, it is taken for the newest, since they take in what is mended.
pub(crate) fn mainline(release: &str, version: &str, signature: Option<&str>) -> Option<Version> {
    let (numbers, rest) = numbers(release)?;
    let (major, minor, patch) = numbers;
    let is_counted_by_others = patch == 0
        && rest
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !is_counted_by_others {
        return Some(numbers);
    }
    let words = version.split_once("Debian ").map(|(_, rest)| rest);
    let last = signature.and_then(|signature| signature.split_whitespace().last());
    let told = [words, last].into_iter().flatten().filter_map(self::numbers);
    let mut same = told.map(|(told, _)| told).filter(|told| (told.0, told.1) == (major, minor));
    Some(same.next().unwrap_or((major, minor, u32::MAX)))
}

/// The first three numbers, and what follows; a missing third one is 0.
fn numbers(text: &str) -> Option<(Version, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (head, rest) = text.split_at_checked(end)?;
    let mut numbers = head.split('.').map(|number| number.parse().ok());
    Some(((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)), rest))
}

/// Why a machine seems to wait for I/O all the time.
pub(crate) const IOWAIT: &str = "a thread that waits in io_uring is counted as I/O wait on this kernel: top(1) may show up \
    to 100 % wa on CPUs that are idle; it is accounting only, and gone with kernel 6.15, where the library asks not to be \
    counted";

/// Whether [`IOWAIT`] is so: waiting counts since 6.1.39 and 6.5.1, unless a ring can ask not to be counted.
pub(crate) fn counts_as_iowait(version: Version, has_no_iowait: bool) -> bool {
    let counts = match version {
        (6, 1, patch) => patch >= 39,
        version => version >= (6, 5, 1),
    };
    !has_no_iowait && counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(release: &str) -> Vec<&'static str> {
        let version = mainline(release, "", None);
        version.map(faults).unwrap_or_default().iter().map(|fault| fault.id).collect()
    }

    #[test]
    fn a_kernel_has_the_faults_of_its_number() {
        assert_eq!(ids("6.18.44-fc-v595"), ["cqe-mixed-twice"]);
        assert_eq!(ids("7.2.13"), ["cqe-mixed-twice"]);
        assert_eq!(ids("7.3.4+deb14-cloud-amd64"), [""; 0]);
        assert_eq!(ids("6.17.0"), [""; 0]);
        assert_eq!(ids("6.15.4-arch2"), ["eventfd-read-waits"]);
        assert_eq!(ids("6.12.20"), ["fragmented-memory"]);
        assert_eq!(ids("6.12.21-amd64"), [""; 0]);
        assert_eq!(ids("6.6.85"), ["fragmented-memory"]);
        assert_eq!(ids("6.14"), [""; 0]);
        assert_eq!(ids("5.15.86-generic"), ["fragmented-memory", "poll-rework"]);
        assert_eq!(ids("5.15.87"), ["fragmented-memory"]);
        assert_eq!(ids("5.10.185"), ["fragmented-memory", "sqpoll-spins"]);
        assert_eq!(ids("unknown"), [""; 0]);
    }

    #[test]
    fn waiting_counts_on_some_kernels_only() {
        for (release, flag, counts) in [
            ("6.1.38", false, false),
            ("6.1.39", false, true),
            ("6.3.9", false, false),
            ("6.5.1", false, true),
            ("6.12.1", false, true),
            ("6.18.44", true, false),
            ("5.15.0", false, false),
        ] {
            let version = mainline(release, "", None).unwrap();
            assert_eq!(counts_as_iowait(version, flag), counts, "{release}");
        }
    }

    #[test]
    fn the_number_is_looked_for_where_the_distribution_has_it() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-10-30)";
        let ubuntu = Some("Ubuntu 5.15.0-86.96-generic 5.15.122");
        for (release, version, signature, expected) in [
            ("6.1.0-50-cloud-amd64", debian, None, (6, 1, 176)),
            ("5.15.0-86-generic", "#96-Ubuntu SMP", ubuntu, (5, 15, 122)),
            ("5.14.0-427.el9.x86_64", "#1 SMP", None, (5, 14, u32::MAX)),
            ("6.12.0-124.8.1.el10", "#1 SMP", ubuntu, (6, 12, u32::MAX)),
            ("7.3.4+deb13-cloud-amd64", "#1 SMP Debian 7.3.4-1~bpo13+1", None, (7, 3, 4)),
            ("6.18.44-fc-v595", "#1 SMP", None, (6, 18, 44)),
            ("6.19.0", "#1 SMP", None, (6, 19, 0)),
            ("6.19.0-rc3", "#1 SMP", None, (6, 19, 0)),
        ] {
            assert_eq!(mainline(release, version, signature), Some(expected), "{release}");
        }
        assert_eq!(mainline("what", "", None), None);
    }
}
