//! A picture at a model's size, as the page shows it and as the service reads it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use undiffuse::data::decode::decode;
use undiffuse::request::fit;

use crate::{fixtures, open};

/// Smaller, larger, stretched, of the right size, in colour and in grey.
#[test]
fn what_is_shown_is_what_is_read() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    page.go(&service.url("/#/generate"));
    for (width, height) in [(48, 32), (13, 41), (8, 8)] {
        let png = fixtures::rainbow(width, height);
        let image = decode(&png, &Default::default()).unwrap().image;
        for [channels, to_height, to_width] in [[3, 8, 8], [1, 8, 8], [3, 12, 20], [1, 20, 12], [3, 64, 64]] {
            let picture = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&png));
            let shown = page.eval(&format!(
                "(async () => {{
                    const {{ fitted }} = await import('/studio/js/pages/generate/fit.js');
                    const picture = new Image();
                    picture.src = {};
                    await picture.decode();
                    const canvas = fitted(picture, {});
                    return Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data);
                }})()",
                json!(picture),
                json!([channels, to_height, to_width])
            ));
            let shown: Vec<u8> = serde_json::from_value(shown).unwrap();
            let read = fit(&image.to_channels(channels), to_width, to_height).to_rgb();
            let rgb = shown.chunks_exact(4).flat_map(|pixel| &pixel[..3]);
            let apart = rgb.zip(&read.pixels).map(|(a, b)| a.abs_diff(*b)).max();
            let what = format!("{width}x{height} to {channels}x{to_height}x{to_width}");
            assert_eq!(shown.len(), 4 * to_width * to_height, "{what}");
            // Both round after each axis, with weights of other precision.
            assert!(apart <= Some(2), "{what}: {apart:?} of 255 apart");
        }
    }
}
