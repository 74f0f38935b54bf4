//! Points in time: by the clock of the machine, or by that of a ring's world.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::mode::Mode;
use crate::sim::World;

/// How far behind all times of the machine those of worlds are: a hundred years.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The moment at which the clocks of worlds stand at 0. One for all of them: it is only a name for 0.
static START: OnceLock<Instant> = OnceLock::new();

fn start() -> Instant {
    *START.get_or_init(|| {
        let now = Instant::now();
        now.checked_add(FAR).unwrap_or(now)
    })
}

/// The time now: by the clock of a ring's world, if it has one.
pub fn now<M: Mode>(ring: &M::Ring) -> Instant {
    M::world(ring).map_or_else(Instant::now, in_world)
}

/// The time in a world, as an [`Instant`].
pub(crate) fn in_world(world: &World) -> Instant {
    start().checked_add(world.now()).unwrap_or_else(start)
}

/// How long it is until `at`, by the clock that `at` was read from.
///
/// A time of the machine is taken for as long in a ring's world, in whole milliseconds: what the program itself has taken
/// since it read the clock is not to be seen in a run that a seed describes.
pub fn left<M: Mode>(ring: &M::Ring, at: Instant) -> Duration {
    let by_machine = || at.saturating_duration_since(Instant::now());
    let Some(world) = M::world(ring) else { return by_machine() };
    match at.checked_duration_since(start()) {
        Some(at) => at.saturating_sub(world.now()),
        None => whole_milliseconds(by_machine()),
    }
}

/// Rounded up.
fn whole_milliseconds(time: Duration) -> Duration {
    let part = time.subsec_nanos() % 1_000_000;
    let rest = if part == 0 { 0 } else { 1_000_000 - part };
    time.saturating_add(Duration::from_nanos(rest.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Local;
    use crate::sim::Config;

    #[test]
    fn a_time_is_as_far_away_as_its_own_clock_says() {
        let world = World::new(Config::calm(1));
        let config = crate::config::Config {
            backend: crate::config::BackendChoice::Only(crate::config::BackendKind::Sim),
            world: Some(world.clone()),
            ..crate::config::Config::new(4)
        };
        let ring = Local::open(config).unwrap();
        let hour = Duration::from_secs(3600);
        let at = now::<Local>(&ring) + hour;
        assert_eq!(left::<Local>(&ring, at), hour);
        // By the clock of the machine, which goes on between the two looks.
        let nearly = |left: Duration| left <= hour && left > hour / 2;
        assert!(nearly(left::<Local>(&ring, Instant::now() + hour)));
        assert_eq!(left::<Local>(&ring, Instant::now()), Duration::ZERO);
        world.kernel().go_to(3_599_999_999_999);
        assert_eq!(left::<Local>(&ring, at), Duration::from_nanos(1));
        world.kernel().go_to(7_200_000_000_000);
        assert_eq!(left::<Local>(&ring, at), Duration::ZERO);
        assert!(nearly(left::<Local>(&ring, Instant::now() + hour)), "from now on, not from then");
        assert_eq!(whole_milliseconds(Duration::from_nanos(1)), Duration::from_millis(1));
        assert_eq!(whole_milliseconds(Duration::from_millis(7)), Duration::from_millis(7));
    }
}
