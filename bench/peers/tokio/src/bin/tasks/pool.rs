//! pool - a system call that may block, made by tokio's pool of blocking threads.

use crate::watch::Watch;

pub async fn call(count: u64, watch: &mut Watch) -> u64 {
    let mut successful = 0;
    tokio::fs::metadata("/").await.expect("the pool's first thread");
    watch.start();
    for _ in 0..count {
        successful += u64::from(tokio::fs::metadata("/").await.is_ok());
    }
    watch.stop();
    successful
}
