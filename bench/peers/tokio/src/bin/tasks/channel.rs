//! channel - a number sent to another task and back, and a select over eight channels.

use crate::watch::Watch;
use tokio::sync::mpsc::{self, Receiver, Sender};

async fn return_balls(mut there: Receiver<u64>, back: Sender<u64>) {
    while let Some(ball) = there.recv().await {
        back.send(ball + 1).await.unwrap();
    }
}

/// One is the least capacity that there is.
pub async fn round_trip(count: u64, watch: &mut Watch) -> u64 {
    let (there, there_receiver) = mpsc::channel(1);
    let (back_sender, mut back) = mpsc::channel(1);
    let partner = tokio::spawn(return_balls(there_receiver, back_sender));
    let mut ball = 0;
    watch.start();
    for _ in 0..count {
        there.send(ball).await.unwrap();
        ball = back.recv().await.unwrap();
    }
    watch.stop();
    drop(there);
    partner.await.unwrap();
    ball
}

async fn receive_any(r: &mut [Receiver<u64>; 8]) -> Option<u64> {
    let [a, b, c, d, e, f, g, h] = r;
    tokio::select! {
        item = a.recv() => item,
        item = b.recv() => item,
        item = c.recv() => item,
        item = d.recv() => item,
        item = e.recv() => item,
        item = f.recv() => item,
        item = g.recv() => item,
        item = h.recv() => item,
    }
}

pub async fn select_ready(count: u64, watch: &mut Watch) -> u64 {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..8).map(|_| mpsc::channel(1)).unzip();
    let mut receivers: [Receiver<u64>; 8] = receivers.try_into().unwrap();
    let mut sum = 0;
    watch.start();
    for i in 0..count {
        senders[i as usize % 8].try_send(i).unwrap();
        sum += receive_any(&mut receivers).await.unwrap();
    }
    watch.stop();
    sum
}
