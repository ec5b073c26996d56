//! tree - a tree of tasks under one token, which sleep, wait for a channel, and receive.

use crate::cancel::abort_and_join;
use crate::delay::HOUR;
use crate::spawn::GROUP_SIZE;
use crate::sync::settle;
use crate::watch::Watch;
use std::io::ErrorKind::WouldBlock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

struct Branch {
    size: u64,
    sockets: Vec<Arc<UnixStream>>,
    root: CancellationToken,
    waiting: Arc<AtomicU64>,
}

async fn receive(socket: Arc<UnixStream>) {
    loop {
        socket.readable().await.unwrap();
        match socket.try_read(&mut [0]) {
            Err(e) if e.kind() == WouldBlock => {}
            _ => panic!("nobody sends"),
        }
    }
}

impl Branch {
    /// Has leaves, a third of each kind as long as there are sockets; once the token is cancelled,
    /// cancels them and waits for them. How many were cancelled.
    ///
    /// A token in each leaf would take twice as long.
    async fn grow(self) -> u64 {
        let mut leaves = Vec::with_capacity(self.size as usize);
        let mut senders = Vec::new();
        let mut sockets = self.sockets.iter();
        for i in 0..self.size {
            let waiting = self.waiting.clone();
            let socket = if i % 3 == 1 { sockets.next().cloned() } else { None };
            if i % 3 == 2 {
                let (sender, receiver) = oneshot::channel::<u64>();
                senders.push(sender);
                leaves.push(tokio::spawn(async move {
                    waiting.fetch_add(1, Relaxed);
                    receiver.await.expect_err("nobody sends");
                }));
            } else if let Some(socket) = socket {
                leaves.push(tokio::spawn(async move {
                    waiting.fetch_add(1, Relaxed);
                    receive(socket).await;
                }));
            } else {
                leaves.push(tokio::spawn(async move {
                    waiting.fetch_add(1, Relaxed);
                    tokio::time::sleep(HOUR).await;
                }));
            }
        }
        self.root.cancelled().await;
        abort_and_join(leaves).await
    }
}

/// As many ends of socket pairs as are wanted, or as there may be descriptors.
fn open_sockets(wanted: u64) -> Vec<Arc<UnixStream>> {
    let mut sockets = Vec::new();
    peers::raise_descriptor_limit();
    while (sockets.len() as u64) < wanted {
        match UnixStream::pair() {
            Ok((a, b)) => sockets.extend([Arc::new(a), Arc::new(b)]),
            Err(_) => break,
        }
    }
    sockets
}

pub async fn cancel_tree(count: u64, watch: &mut Watch) -> u64 {
    let root = CancellationToken::new();
    let waiting = Arc::new(AtomicU64::new(0));
    let sockets = open_sockets(count / 3);
    let mut sockets_left = sockets.iter().cloned();
    let mut branches = Vec::new();
    let mut left = count;
    while left > 0 {
        let size = left.min(GROUP_SIZE);
        let branch = Branch {
            size,
            sockets: sockets_left.by_ref().take(size as usize / 3).collect(),
            root: root.clone(),
            waiting: waiting.clone(),
        };
        branches.push(tokio::spawn(branch.grow()));
        left -= size;
    }
    settle(&waiting, count).await;
    let mut cancelled = 0;
    watch.start();
    root.cancel();
    for branch in branches {
        cancelled += branch.await.unwrap();
    }
    watch.stop();
    cancelled
}
