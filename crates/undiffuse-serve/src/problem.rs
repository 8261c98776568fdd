//! What a client is told when something is refused: RFC 9457's problem document, one for every refusal.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// A refusal: the status, and a sentence that says what, where, and what to do. The body is
/// `application/problem+json` \[RFC 9457\].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A short word for programs: `not_found`, `invalid`, `queue_full`…
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong and what would be right.
    pub detail: String,
    /// The part of the request that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A refusal with this status.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("error").into(),
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// 422: the request is understood and cannot be fulfilled.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 429: the queue is full.
    pub fn queue_full(detail: impl Into<String>, retry_after: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail);
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// 503: not now.
    pub fn unavailable(code: &str, detail: impl Into<String>, retry_after: u64) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// 500: a fault of ours.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<undiffuse::request::RequestError> for Problem {
    fn from(e: undiffuse::request::RequestError) -> Self {
        Self::invalid(e.field, e.problem)
    }
}

/// The content type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
        let mut response = (self.status(), kind, body).into_response();
        if let Some(seconds) = self.retry_after {
            const RETRY_AFTER: HeaderName = header::RETRY_AFTER;
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
