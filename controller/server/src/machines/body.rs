//! Reads the body of a request with a bound on size and time.

use axum::body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::app::App;
use crate::problem::Problem;

/// The whole body, of at most so many bytes.
///
/// # Errors
/// `too-large`, `too-slow`, or `malformed` when it breaks off.
pub async fn read(app: &App, body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let whole = Limited::new(body, limit).collect();
    match tokio::time::timeout(app.limits.body, whole).await {
        Err(_) => Err(Problem::too_slow()),
        Ok(Ok(bytes)) => Ok(bytes.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large()),
        Ok(Err(error)) => Err(Problem::malformed(error)),
    }
}

/// The whole body as JSON of one form.
///
/// # Errors
/// As [`read`], and `malformed` for another form.
pub(super) async fn json<T: serde::de::DeserializeOwned>(
    app: &App,
    body: Body,
    limit: usize,
) -> Result<T, Problem> {
    let bytes = read(app, body, limit).await?;
    serde_json::from_slice(&bytes).map_err(Problem::malformed)
}
