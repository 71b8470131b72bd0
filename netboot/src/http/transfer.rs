//! Sends bytes and files through a plain TCP socket; files go from the kernel's disk cache to the
//! network without passing through us (`sendfile`).
//!
//! Invariant: a file that is not in the disk cache is read by the pool of blocking threads first,
//! so that a slow disk holds up nobody else, and no client keeps the thread for itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pace::Pace;
use super::reply::FilePart;

/// Given to the kernel at once, then others have their turn: as much as it takes for one socket, so
/// that acknowledgements find data to send without us.
const PIECE_BYTES: u64 = 4 << 20;

/// Sends all of `bytes`. `more` says that something follows at once, so that a small head and the
/// content behind it share a packet.
pub(crate) async fn send_bytes(
    stream: &TcpStream,
    mut bytes: &[u8],
    more: bool,
    pace: &mut Pace,
    sent: &mut u64,
) -> io::Result<()> {
    let flags = if more {
        SendFlags::MORE | SendFlags::NOSIGNAL
    } else {
        SendFlags::NOSIGNAL
    };
    while !bytes.is_empty() {
        let send = || Ok(rustix::net::send(stream, bytes, flags)?);
        match stream.try_io(Interest::WRITABLE, send) {
            Ok(taken) => {
                pace.took(taken);
                *sent += taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pace.wait(stream.writable()).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends a head and the part of a file behind it, in full packets: what the client does not take at
/// once waits in the kernel for more, and the rest goes out when the cork is drawn at the end.
pub(crate) async fn send_with_file(
    stream: &TcpStream,
    head: &[u8],
    part: FilePart,
    pace: &mut Pace,
    sent: &mut u64,
) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_cork(true)?;
    send_bytes(stream, head, false, pace, &mut 0).await?;
    send_file(stream, part, pace, sent).await?;
    socket.set_tcp_cork(false)
}

/// Sends a part of a file. A file that has become shorter is an error.
async fn send_file(
    stream: &TcpStream,
    part: FilePart,
    pace: &mut Pace,
    sent: &mut u64,
) -> io::Result<()> {
    let file = Arc::new(part.file);
    let (mut offset, end) = (part.first, part.first + part.count);
    while offset < end {
        let piece = (end - offset).min(PIECE_BYTES);
        make_resident(&file, offset, piece).await?;
        let piece_end = offset + piece;
        while offset < piece_end {
            let count = usize::try_from(piece_end - offset).unwrap_or(usize::MAX);
            let mut position = offset;
            let send = || {
                let taken = rustix::fs::sendfile(stream, &file, Some(&mut position), count)?;
                Ok(taken)
            };
            match stream.try_io(Interest::WRITABLE, send) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file has become shorter",
                    ));
                }
                Ok(taken) => {
                    pace.took(taken);
                    *sent += taken as u64;
                    offset += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    pace.wait(stream.writable()).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Reads a piece that the kernel would have to wait for, on a thread that may wait.
async fn make_resident(file: &Arc<File>, offset: u64, length: u64) -> io::Result<()> {
    if is_resident(file, offset + length - 1) {
        return Ok(());
    }
    let file = Arc::clone(file);
    let read = move || {
        let mut buffer = vec![0; 64 << 10];
        let mut done = 0;
        while done < length {
            match file.read_at(&mut buffer, offset + done)? {
                0 => break,
                taken => done += taken as u64,
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(io::Error::other)?
}

/// Whether the byte can be read without waiting for a disk. File systems that cannot tell keep
/// their files in memory, or are not worth a detour.
fn is_resident(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    let read = rustix::io::preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT);
    !matches!(read, Err(Errno::AGAIN))
}
