//! sync - a lock that is free, a lock that is handed over, and an event that many wait for.

use crate::watch::Watch;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

pub async fn lock(count: u64, watch: &mut Watch) -> u64 {
    let held = Mutex::new(0);
    watch.start();
    for _ in 0..count {
        *held.lock().await += 1;
    }
    watch.stop();
    held.into_inner()
}

struct Table {
    holder: Option<u64>,
    hand_overs: u64,
}

/// Takes the lock again and again, and counts when it comes from the other.
async fn play(me: u64, count: u64, table: Arc<Mutex<Table>>) {
    for _ in 0..count {
        let mut table = table.lock().await;
        table.hand_overs += u64::from(table.holder != Some(me));
        table.holder = Some(me);
    }
}

pub async fn lock_hand_over(count: u64, watch: &mut Watch) -> u64 {
    let table = Arc::new(Mutex::new(Table { holder: None, hand_overs: 0 }));
    let held = table.lock().await;
    let players = [0, 1].map(|me| tokio::spawn(play(me, count / 2, table.clone())));
    tokio::task::yield_now().await;
    watch.start();
    drop(held);
    for player in players {
        player.await.unwrap();
    }
    watch.stop();
    let hand_overs = table.lock().await.hand_overs;
    hand_overs
}

/// A Notify: with a watch or a CancellationToken for the event it takes longer.
pub async fn event_set(count: u64, watch: &mut Watch) -> u64 {
    let event = Arc::new(Notify::new());
    let waiting = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (event, waiting) = (event.clone(), waiting.clone());
        tasks.push(tokio::spawn(async move {
            waiting.fetch_add(1, Relaxed);
            event.notified().await;
            1
        }));
    }
    settle(&waiting, count).await;
    let mut woken = 0;
    watch.start();
    event.notify_waiters();
    for task in tasks {
        woken += task.await.unwrap();
    }
    watch.stop();
    woken
}

/// Returns when all have come to where they wait: they count themselves in the same poll.
pub async fn settle(waiting: &AtomicU64, count: u64) {
    while waiting.load(Relaxed) < count {
        tokio::task::yield_now().await;
    }
}
