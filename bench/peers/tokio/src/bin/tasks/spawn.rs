//! spawn - tasks that take turns, that come and go, and that make more of themselves.

use crate::watch::Watch;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

pub const GROUP_SIZE: u64 = 1000;
const CHILDREN: u64 = 10;

/// Runs the others once. tokio's own yield_now asks the kernel for I/O too before it comes back,
/// which takes three times as long.
#[derive(Default)]
struct Yield {
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn spin(count: u64) -> u64 {
    let mut made = 0;
    while made < count {
        Yield::default().await;
        made += 1;
    }
    made
}

/// Two tasks take turns.
pub async fn yields(count: u64, watch: &mut Watch) -> u64 {
    watch.start();
    let players = [tokio::spawn(spin(count / 2)), tokio::spawn(spin(count / 2))];
    let mut made = 0;
    for player in players {
        made += player.await.unwrap();
    }
    watch.stop();
    made
}

/// A JoinSet would take twice as long.
pub async fn spawn_join(count: u64, watch: &mut Watch) -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut group = Vec::with_capacity(GROUP_SIZE as usize);
    let mut left = count;
    COUNTER.store(0, Relaxed);
    watch.start();
    while left > 0 {
        let size = left.min(GROUP_SIZE);
        group.extend((0..size).map(|_| {
            tokio::spawn(async {
                COUNTER.fetch_add(1, Relaxed);
            })
        }));
        for task in group.drain(..) {
            task.await.unwrap();
        }
        left -= size;
    }
    watch.stop();
    COUNTER.load(Relaxed)
}

fn skynet_node(first: u64, leaves: u64) -> JoinHandle<u64> {
    if leaves == 1 {
        return tokio::spawn(async move { first });
    }
    tokio::spawn(async move {
        let size = leaves / CHILDREN;
        let children: [_; CHILDREN as usize] =
            std::array::from_fn(|i| skynet_node(first + i as u64 * size, size));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub async fn skynet(count: u64, watch: &mut Watch) -> u64 {
    watch.start();
    let sum = skynet_node(0, count).await.unwrap();
    watch.stop();
    sum
}
