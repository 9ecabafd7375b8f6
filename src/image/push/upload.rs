//! One upload: a blob is sent as it is read, a piece at a time, for as long as the registry goes on taking pieces.

use std::{convert::Infallible, pin::pin, time::Duration};

use futures::{
    SinkExt as _, StreamExt as _,
    channel::mpsc,
    future::{Either, select},
};
use reqwest::{
    Body, RequestBuilder, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::time::timeout;

use super::{answer::Failure, blocking, patience::Patience};
use crate::image::{layout::Blob, session};

type Pieces = mpsc::Sender<Vec<u8>>;

/// An answer to an upload.
pub struct Sent {
    pub response: Response,
    /// Held until the answer is read: it may have come before the end of the body, and the connection would be given up when
    /// the body ended there.
    _pieces: Pieces,
}

/// Sends a blob, and waits for whatever is answered.
pub async fn send(
    request: RequestBuilder,
    blob: Blob,
    size: u64,
    patience: &Patience,
) -> Result<Sent, Failure> {
    // Without room: a piece is sent when it was taken, so to wait for that is to watch the upload.
    let (mut pieces, taken) = mpsc::channel(0);
    let request = request
        // Storage behind registries takes no body whose length it does not know.
        .header(CONTENT_LENGTH, size)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(Body::wrap_stream(taken.map(Ok::<Vec<u8>, Infallible>)));
    let mut answer = pin!(session::send(request));
    let early = {
        let pump = pin!(pump(blob, &mut pieces, patience.idle));
        match select(answer.as_mut(), pump).await {
            Either::Left((answer, _)) => Some(answer?),
            Either::Right((pumped, _)) => {
                pumped?;
                None
            }
        }
    };
    let response = match early {
        Some(response) => response,
        None => timeout(patience.answer, answer).await.map_err(|_| {
            let waited = patience.answer.as_secs_f32();
            Failure::passing(format!("it was sent whole, and not answered within {waited} s"))
        })??,
    };
    Ok(Sent {
        response,
        _pieces: pieces,
    })
}

/// Reads and gives away all pieces. What is not what it should be ends here, before its last piece.
async fn pump(mut blob: Blob, pieces: &mut Pieces, idle: Duration) -> Result<(), Failure> {
    loop {
        let read = blocking("a blob", move || {
            let piece = blob.piece()?;
            Ok((blob, piece))
        });
        let (rest, piece) = read.await?;
        let Some(piece) = piece else {
            pieces.close_channel();
            return Ok(());
        };
        blob = rest;
        match timeout(idle, pieces.send(piece)).await {
            Ok(Ok(())) => {}
            // Nobody takes more: the answer says why.
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                let waited = idle.as_secs_f32();
                return Err(Failure::passing(format!(
                    "nothing of it was taken for {waited} s"
                )));
            }
        }
    }
}
