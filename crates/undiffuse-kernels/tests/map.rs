//! Maps by the definition of their layout.

mod common;

use common::{numbers, unset};
use undiffuse_kernels::map::{from_planes, len, to_planes};

#[test]
fn channels_are_lanes_and_the_rest_is_zero() {
    for batch in [0, 1, 3] {
        for channels in [1, 3, 5, 15, 16, 17, 48, 130] {
            for pixels in [1, 2, 3, 15, 16, 25, 33, 196, 1024] {
                let planes = numbers(1, batch * channels * pixels);
                let vectors = channels.div_ceil(16);
                let mut map = unset(len(batch, channels, pixels));
                assert_eq!(map.len(), batch * vectors * pixels * 16);
                from_planes(&planes, channels, pixels, &mut map);
                for (i, x) in map.iter().enumerate() {
                    let (lane, pixel) = (i % 16, i / 16 % pixels);
                    let (panel, image) = (i / 16 / pixels % vectors, i / 16 / pixels / vectors);
                    let channel = panel * 16 + lane;
                    let expected =
                        if channel < channels { planes[(image * channels + channel) * pixels + pixel] } else { 0.0 };
                    assert_eq!(*x, expected, "{batch} × {channels} × {pixels}, image {image}, {channel}, {pixel}");
                }
                let mut back = unset(planes.len());
                to_planes(&map, channels, pixels, &mut back);
                assert_eq!(back, planes, "{batch} × {channels} × {pixels}");
            }
        }
    }
}

#[test]
fn without_channels_or_pixels_nothing_is_written() {
    for (channels, pixels) in [(0, 4), (3, 0)] {
        assert_eq!(len(2, channels, pixels), 0);
        from_planes(&[], channels, pixels, &mut []);
        to_planes(&[], channels, pixels, &mut []);
    }
}

#[test]
#[should_panic(expected = "planes: a whole number of images")]
fn planes_of_a_part_of_an_image_are_refused() {
    from_planes(&[0.0; 7], 2, 3, &mut [0.0; 48]);
}
