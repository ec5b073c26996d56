//! sleepers - very many that sleep for an hour, as tasks and as mere jobs, until they are woken.

use crate::cancel::{abort_and_join, sleeping_tasks};
use crate::delay::{Expired, HOUR};
use crate::watch::Watch;
use std::sync::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::time::DelayQueue;

/// What sleeps between two lines of input.
enum Asleep {
    Nobody,
    Tasks(Vec<JoinHandle<()>>),
    Jobs(oneshot::Sender<()>, JoinHandle<u64>),
}

static ASLEEP: Mutex<Asleep> = Mutex::new(Asleep::Nobody);

pub async fn sleepers(count: u64, watch: &mut Watch) -> u64 {
    watch.start();
    let tasks = sleeping_tasks(count).await;
    watch.stop();
    let sleeping = tasks.len() as u64;
    *ASLEEP.lock().unwrap() = Asleep::Tasks(tasks);
    sleeping
}

/// What is to be done in an hour.
struct Job {
    function: fn(u64),
    argument: u64,
}

fn too_late(i: u64) {
    panic!("number {} has slept for an hour", i);
}

/// One task does what is due. Returns how many were not when it was told to end.
async fn keep(mut jobs: DelayQueue<Job>, mut woken: oneshot::Receiver<()>) -> u64 {
    loop {
        tokio::select! {
            Some(job) = Expired(&mut jobs) => (job.function)(job.argument),
            _ = &mut woken => break,
        }
    }
    let ended = jobs.len() as u64;
    jobs.clear();
    ended
}

pub async fn later(count: u64, watch: &mut Watch) -> u64 {
    let mut jobs = DelayQueue::with_capacity(count as usize);
    let (wake, woken) = oneshot::channel();
    watch.start();
    for argument in 0..count {
        jobs.insert(Job { function: too_late, argument }, HOUR);
    }
    let armed = jobs.len() as u64;
    let keeper = tokio::spawn(keep(jobs, woken));
    tokio::task::yield_now().await;
    watch.stop();
    *ASLEEP.lock().unwrap() = Asleep::Jobs(wake, keeper);
    armed
}

pub async fn wake(watch: &mut Watch) -> u64 {
    let asleep = std::mem::replace(&mut *ASLEEP.lock().unwrap(), Asleep::Nobody);
    watch.start();
    let ended = match asleep {
        Asleep::Nobody => 0,
        Asleep::Tasks(tasks) => abort_and_join(tasks).await,
        Asleep::Jobs(wake, keeper) => {
            wake.send(()).unwrap();
            keeper.await.unwrap()
        }
    };
    watch.stop();
    ended
}
