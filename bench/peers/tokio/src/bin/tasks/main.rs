//! tasks - what COUNT operations of a bench cost on tokio, asked for line by line on standard input.
//!
//! bench/README.md says what one operation of each bench is.

mod cancel;
mod channel;
mod delay;
mod pool;
mod sleepers;
mod spawn;
mod sync;
mod time;
mod tree;
mod watch;

use tokio::runtime::Builder;
use watch::Watch;

/// Does `count` operations of a bench, the timed part of them under the watch, and returns what it
/// counted on the way; nothing: there is no such bench.
async fn run(bench: &str, count: u64, watch: &mut Watch) -> Option<u64> {
    Some(match bench {
        "yield" => spawn::yields(count, watch).await,
        "spawn_join" => spawn::spawn_join(count, watch).await,
        "skynet" => spawn::skynet(count, watch).await,
        "channel_round_trip" => channel::round_trip(count, watch).await,
        "select_ready" => channel::select_ready(count, watch).await,
        "lock" => sync::lock(count, watch).await,
        "lock_hand_over" => sync::lock_hand_over(count, watch).await,
        "event_set" => sync::event_set(count, watch).await,
        "timers" => time::timers(count, watch).await,
        "timeout_scope" => time::timeout_scope(count, watch).await,
        "cancel_join" => cancel::cancel_join(count, watch).await,
        "cancel_tree" => tree::cancel_tree(count, watch).await,
        "pool_call" => pool::call(count, watch).await,
        "sleepers" => sleepers::sleepers(count, watch).await,
        "sleepers_later" => sleepers::later(count, watch).await,
        "wake" => sleepers::wake(watch).await,
        _ => return None,
    })
}

/// The line's answer, in JSON.
async fn answer(line: String) -> String {
    let (bench, count) = line.split_once(' ').expect("BENCH COUNT");
    let count = count.trim().parse().expect("BENCH COUNT");
    let mut watch = Watch::default();
    match run(bench, count, &mut watch).await {
        Some(answer) => format!(
            r#"{{"bench":"{}","count":{},"cpu_ns":{},"wall_ns":{},"answer":{}}}"#,
            bench, count, watch.cpu_ns, watch.wall_ns, answer
        ),
        None => format!(r#"{{"bench":"{}","error":"has none: unknown here"}}"#, bench),
    }
}

/// Each bench is a task: what is given to block_on itself is woken through a system call.
fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!("ready {}, current_thread", peers::versions());
    for line in std::io::stdin().lines() {
        let answer = answer(line.unwrap());
        println!("{}", runtime.block_on(async { tokio::spawn(answer).await.unwrap() }));
    }
}
