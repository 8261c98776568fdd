//! A token once, a cookie from then on: how browsers, which send no `Authorization`, come in.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::Small;
use crate::peer::{Peer, single};
use crate::problem::{PROBLEM_JSON, Problem};

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(open_session, end_session))
}

/// What a person typed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The token that the service was started with.
    pub token: String,
}

/// Trade the token for a cookie. The cookie is good until it is ended or the service ends, and says nothing of the token.
#[utoipa::path(post, path = "/api/session", tag = "service", request_body = Credentials, responses(
    (status = 204, description = "The cookie is set; without a token there is none to set.", headers(
        ("Set-Cookie" = String, description = "`undiffuse_session_PORT`, for this site and for HTTP only."))),
    (status = 401, description = "The token is wrong.", body = Problem, content_type = PROBLEM_JSON),
))]
async fn open_session(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    Small(credentials): Small<Credentials>,
) -> Result<Response, Problem> {
    match app.gate.session(&credentials.token, peer)? {
        Some(session) => with_cookie(&headers, &session),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Sign out: the cookie's session is over, here and wherever else the cookie is.
#[utoipa::path(delete, path = "/api/session", tag = "service", responses(
    (status = 204, description = "It is over, if there was one.", headers(
        ("Set-Cookie" = String, description = "The cookie without a value, which browsers forget."))),
))]
async fn end_session(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    app.gate.end_session(&headers);
    with_cookie(&headers, &format!("{}=; Max-Age=0", app.gate.cookie()))
}

fn with_cookie(headers: &HeaderMap, cookie: &str) -> Result<Response, Problem> {
    // Behind a proxy that speaks TLS the page's origin says so, and the cookie is to stay within TLS then.
    let tls = single(headers, &header::ORIGIN).is_some_and(|origin| origin.starts_with("https://"));
    let secure = if tls { "; Secure" } else { "" };
    let cookie = HeaderValue::try_from(format!("{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}"));
    let cookie = cookie.map_err(|e| Problem::internal(e.to_string()))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
