//! time - timers that are armed and disarmed, and time-outs around nothing.

use crate::delay::HOUR;
use crate::watch::Watch;
use std::future::ready;
use tokio::time::timeout;
use tokio_util::time::DelayQueue;

/// A Sleep for each, boxed and polled once, would take four times as long.
pub async fn timers(count: u64, watch: &mut Watch) -> u64 {
    let mut queue = DelayQueue::with_capacity(count as usize);
    let mut keys = Vec::with_capacity(count as usize);
    watch.start();
    for i in 0..count {
        keys.push(queue.insert(i, HOUR));
    }
    for (i, key) in keys.iter().enumerate() {
        if i % 100 != 0 {
            queue.remove(key);
        }
    }
    watch.stop();
    queue.len() as u64
}

pub async fn timeout_scope(count: u64, watch: &mut Watch) -> u64 {
    let mut in_time = 0;
    watch.start();
    for _ in 0..count {
        if timeout(HOUR, ready(())).await.is_ok() {
            in_time += 1;
        }
    }
    watch.stop();
    in_time
}
