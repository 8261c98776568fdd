//! The OpenAPI document: what the handlers say of themselves, and what the guard and the extractors answer for all of them.

use serde_json::{Value, json};
use undiffuse::condition::{Conditioner, NEGATIVE};
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AdditionalProperties, Components, Ref, Schema};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::guard::is_public;
use crate::problem::{PROBLEM_JSON, Problem};

/// What an operation has to do with a refusal.
struct Facts {
    body: bool,
    path: bool,
    query: bool,
    public: bool,
}

/// Refusals that no handler makes itself: status, name in the document, what it means, and who can meet it.
type Refusal = (u16, &'static str, &'static str, fn(&Facts) -> bool);

const REFUSALS: [Refusal; 12] = [
    (400, "Malformed", "The body is not JSON.", |f| f.body),
    (401, "Unauthorized", "The token is missing or wrong.", |f| !f.public),
    (403, "CrossSite", "A page of another origin asked.", |_| true),
    (404, "NotFound", "There is nothing of this name.", |f| f.path),
    (408, "Timeout", "The body did not arrive in time.", |f| f.body),
    (413, "TooLarge", "The body is larger than this service reads.", |_| true),
    (415, "NotJson", "The body is not of type application/json.", |_| true),
    (421, "UnknownHost", "The request calls this service by a name that it does not have.", |_| true),
    (422, "Invalid", "A value is out of range or of the wrong kind; `field` says which.", |f| {
        f.body || f.query || f.path
    }),
    (429, "Busy", "Too much of it; `retry_after` says when to try again.", |_| true),
    (500, "Internal", "A fault of the service.", |_| true),
    (
        503,
        "Unavailable",
        "Not now: `busy` (too many connections, too much held), `no_memory`, `store` (its disk fails), or `closing`.",
        |_| true,
    ),
];

/// The document of these routes, for a service whose session's cookie has this name.
pub fn document(cookie: &str) -> OpenApi {
    let mut document = super::routes().into_openapi();
    document.info.title = "undiffuse".into();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.description = Some(
        "Diffusion models over HTTP. Every refusal is a problem document (RFC 9457). A token, if the service has one, is sent \
         as a bearer token or as the cookie that `POST /api/session` sets."
            .into(),
    );
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.insert(Problem::name().into(), Problem::schema());
    let away = json!({
        "description": "What guidance leads away from, written as what the model is asked for, or a list of that which takes turns.",
        "oneOf": [{ "type": "string" }, { "type": "integer", "minimum": 0 }, { "type": "array", "items": {} }],
    });
    property(components, "Generate", NEGATIVE, away);
    let led = json!({ "type": "string", "description": "What guidance led away from, as a request asks for it." });
    ["Made", "Picture"].into_iter().for_each(|shown| property(components, shown, NEGATIVE, led.clone()));
    for field in Conditioner::FIELDS {
        let word = json!({ "type": "string", "description": "What it shows, as a request asks for it." });
        property(components, "Generate", field.name, (field.schema)());
        ["Made", "Picture"].into_iter().for_each(|shown| property(components, shown, field.name, word.clone()));
    }
    for (_, name, description, _) in REFUSALS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
        let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build();
        components.responses.insert(name.into(), response.into());
    }
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(cookie)));
    components.security_schemes.extend([("bearer".into(), bearer.into()), ("cookie".into(), cookie.into())]);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            complete(path, operation);
        }
    }
    document
}

/// Adds a property to an object's schema, which has no others than are listed.
fn property(components: &mut Components, object: &str, name: &str, schema: Value) {
    if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(object)
        && let Ok(schema) = serde_json::from_value(schema)
    {
        object.properties.insert(name.into(), schema);
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, head, options, .. } = item;
    [get, put, post, delete, patch, head, options].into_iter().flatten()
}

fn complete(path: &str, operation: &mut Operation) {
    let has = |place: ParameterIn| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == place))
    };
    let facts = Facts {
        body: operation.request_body.is_some(),
        path: path.contains('{'),
        query: has(ParameterIn::Query) || has(ParameterIn::Header),
        public: is_public(path),
    };
    // OpenAPI wants a description of every response; the summary says what a plain one is.
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "Success.".into();
        }
    }
    for (status, name, _, applies) in REFUSALS {
        if applies(&facts) {
            let response = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_string()).or_insert(response);
        }
    }
    if !facts.public {
        let none: [&str; 0] = [];
        let ways = ["bearer", "cookie"].map(|name| SecurityRequirement::new(name, none));
        // The last means that a service without a token asks for none.
        operation.security = Some(ways.into_iter().chain([SecurityRequirement::default()]).collect());
    }
}
