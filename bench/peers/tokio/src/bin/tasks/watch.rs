//! watch - the CPU time of the process and the time on the wall between two moments.

use std::time::Instant;

#[derive(Default)]
pub struct Watch {
    pub cpu_ns: i64,
    pub wall_ns: u128,
    started: Option<(i64, Instant)>,
}

impl Watch {
    pub fn start(&mut self) {
        let now = Instant::now();
        self.started = Some((process_cpu_ns(), now));
    }

    pub fn stop(&mut self) {
        let (cpu_ns, start) = self.started.take().expect("a watch that was started");
        self.cpu_ns = process_cpu_ns() - cpu_ns;
        self.wall_ns = start.elapsed().as_nanos();
    }
}

fn process_cpu_ns() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let r = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    assert_eq!(r, 0);
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}
