//! cancel - sleeping tasks, cancelled one by one.

use crate::delay::HOUR;
use crate::sync::settle;
use crate::watch::Watch;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// `count` tasks that sleep, all of them when this returns.
pub async fn sleeping_tasks(count: u64) -> Vec<JoinHandle<()>> {
    let waiting = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let waiting = waiting.clone();
        tasks.push(tokio::spawn(async move {
            waiting.fetch_add(1, Relaxed);
            drop(waiting);
            tokio::time::sleep(HOUR).await;
        }));
    }
    settle(&waiting, count).await;
    tasks
}

/// Cancels all, then waits for each; how many were cancelled.
pub async fn abort_and_join<T>(tasks: Vec<JoinHandle<T>>) -> u64 {
    let mut cancelled = 0;
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        cancelled += u64::from(matches!(task.await, Err(e) if e.is_cancelled()));
    }
    cancelled
}

pub async fn cancel_join(count: u64, watch: &mut Watch) -> u64 {
    let tasks = sleeping_tasks(count).await;
    watch.start();
    let cancelled = abort_and_join(tasks).await;
    watch.stop();
    cancelled
}
