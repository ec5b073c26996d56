//! delay - waiting for the first of a DelayQueue, which is tokio's way to have very many timers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::time::DelayQueue;

pub const HOUR: Duration = Duration::from_secs(3600);

pub struct Expired<'a, T>(pub &'a mut DelayQueue<T>);

impl<T> Future for Expired<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_expired(cx).map(|expired| expired.map(|entry| entry.into_inner()))
    }
}
