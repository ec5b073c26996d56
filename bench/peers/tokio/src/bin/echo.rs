//! echo - an echo server on tokio: a task a connection; one thread, or as many workers as asked for.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{signal, SignalKind};

const BUFFER_SIZE: usize = 16 * 1024;

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; BUFFER_SIZE];
    stream.set_nodelay(true)?;
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The server is a task of its own: what is given to block_on is woken through a system call.
async fn run(port: u16, loops: usize) -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}, {}, loops {}", listener.local_addr()?, peers::versions(), loops);
    let server = tokio::spawn(serve(listener));
    tokio::select! {
        result = server => result?,
        _ = end.recv() => Ok(()),
    }
}

fn runtime(loops: usize) -> io::Result<Runtime> {
    match loops {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(loops).enable_all().build(),
    }
}

fn option<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.nth(1)?.parse().ok()
}

fn main() -> io::Result<()> {
    let loops = option("--loops").unwrap_or(1);
    let port = option("--port").expect("--port PORT");
    peers::raise_descriptor_limit();
    runtime(loops)?.block_on(run(port, loops))
}
