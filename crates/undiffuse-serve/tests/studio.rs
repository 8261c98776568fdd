//! The studio in a real browser.

#[path = "studio/chrome.rs"]
mod chrome;
mod service;

use chrome::{Chrome, Look};
use service::Service;

#[test]
fn every_page_is_whole() {
    let Some(mut chrome) = Chrome::start() else { return };
    let service = Service::start(|_| {});
    let mut page = chrome.page();
    page.look(Look { dark: true, ..Look::default() });
    page.go(&service.url("/#/ink"));
    page.must_be_content("ink");
}
