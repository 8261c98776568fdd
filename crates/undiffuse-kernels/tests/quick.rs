use undiffuse_kernels::{
    activation::Activation,
    conv2d::*,
    map,
    norm::{self, Norm},
};
fn r(i: usize) -> f32 {
    let x = (i as u64 + 1).wrapping_mul(0x9E3779B97F4A7C15);
    ((x >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
}
fn planes(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| r(i * 7 + seed * 1000003)).collect()
}
fn to_map(p: &[f32], b: usize, c: usize, px: usize) -> Vec<f32> {
    let mut m = vec![0.; map::len(b, c, px)];
    if c > 0 {
        map::from_planes(p, c, px, &mut m);
    }
    m
}
fn from_map(m: &[f32], b: usize, c: usize, px: usize) -> Vec<f32> {
    let mut p = vec![0.; b * c * px];
    if c > 0 {
        map::to_planes(m, c, px, &mut p);
    }
    p
}
fn close(a: &[f32], b: &[f64], what: &str) {
    let big = b.iter().fold(1e-9f64, |m, v| m.max(v.abs()));
    let e = a.iter().zip(b).fold(0f64, |m, (a, b)| m.max((*a as f64 - b).abs()));
    assert!(e / big < 2e-5, "{what}: {}", e / big);
}
fn run(s: Conv2d) {
    let (b, c, px) = (s.batch, s.c_in[0] + s.c_in[1], s.h * s.w);
    let ps = [planes(b * s.c_in[0] * px, 1), planes(b * s.c_in[1] * px, 2)];
    let maps = [to_map(&ps[0], b, s.c_in[0], px), to_map(&ps[1], b, s.c_in[1], px)];
    let n = Norm { batch: b, channels: s.c_in, pixels: px, groups: c, eps: 1e-5, activation: Activation::Silu };
    let mut st = vec![0.; n.statistics_len()];
    let mut co = vec![0.; n.coefficients_len()];
    norm::statistics(&n, [&maps[0], &maps[1]], &mut st);
    let (g, be) = (planes(c, 3), planes(c, 4));
    norm::coefficients(&n, &st, [&g, &be], None, &mut co);
    let w = planes(s.c_out * c * s.kernel.0 * s.kernel.1, 5);
    let (bias, shift) = (planes(s.c_out, 6), planes(b * s.c_out, 7));
    let (oh, ow) = (s.out_h(), s.out_w());
    let res = planes(b * s.c_out * oh * ow, 8);
    let resm = to_map(&res, b, s.c_out, oh * ow);
    let mut y = vec![1.; resm.len()];
    let input = Input { maps: [&maps[0], &maps[1]], coefficients: Some(&co), activation: Activation::Silu };
    forward(&s, &input, &w, &Add { bias: Some(&bias), shift: Some(&shift), residual: Some(&resm) }, &mut y);
    // reference
    let up = if s.upsample { 2 } else { 1 };
    let (ih, iw) = (s.h * up, s.w * up);
    let raw = |n: usize, ch: usize, p: usize| if ch < s.c_in[0] { ps[0][(n * s.c_in[0] + ch) * px + p] } else { ps[1][(n * s.c_in[1] + ch - s.c_in[0]) * px + p] } as f64;
    let mut u = vec![0f64; b * c * px];
    for n in 0..b {
        for ch in 0..c {
            let v: Vec<f64> = (0..px).map(|p| raw(n, ch, p)).collect();
            let m = v.iter().sum::<f64>() / px as f64;
            let var = v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / px as f64;
            for p in 0..px {
                let z = (v[p] - m) / (var + 1e-5).sqrt() * g[ch] as f64 + be[ch] as f64;
                u[(n * c + ch) * px + p] = z / (1.0 + (-z).exp());
            }
        }
    }
    let dy = planes(b * s.c_out * oh * ow, 9);
    let dym = to_map(&dy, b, s.c_out, oh * ow);
    let mut yr = vec![0f64; dy.len()];
    let mut dur = vec![0f64; u.len()];
    let mut dwr = vec![0f64; w.len()];
    let mut sums = vec![0f64; b * s.c_out];
    let (kh, kw) = s.kernel;
    for n in 0..b {
        for o in 0..s.c_out {
            for p in 0..oh {
                for q in 0..ow {
                    let at = ((n * s.c_out + o) * oh + p) * ow + q;
                    let mut acc = bias[o] as f64 + shift[n * s.c_out + o] as f64 + res[at] as f64;
                    sums[n * s.c_out + o] += dy[at] as f64;
                    for ch in 0..c {
                        for i in 0..kh {
                            for j in 0..kw {
                                let (r_, c_) = (
                                    (p * s.stride + i) as isize - s.pad[0] as isize,
                                    (q * s.stride + j) as isize - s.pad[1] as isize,
                                );
                                if r_ < 0 || c_ < 0 || r_ >= ih as isize || c_ >= iw as isize {
                                    continue;
                                }
                                let ui = (n * c + ch) * px + (r_ as usize / up) * s.w + c_ as usize / up;
                                let wi = ((o * c + ch) * kh + i) * kw + j;
                                acc += u[ui] * w[wi] as f64;
                                dur[ui] += dy[at] as f64 * w[wi] as f64;
                                dwr[wi] += dy[at] as f64 * u[ui];
                            }
                        }
                    }
                    yr[at] = acc;
                }
            }
        }
    }
    close(&from_map(&y, b, s.c_out, oh * ow), &yr, &format!("y {s:?}"));
    let mut dx = [vec![1.; maps[0].len()], vec![1.; maps[1].len()]];
    {
        let [a, d] = &mut dx;
        backward_data(&s, &dym, &w, [a, d]);
    }
    for k in 0..2 {
        let got = from_map(&dx[k], b, s.c_in[k], px);
        let want: Vec<f64> = (0..b)
            .flat_map(|n| {
                let lo = (n * c + k * s.c_in[0]) * px;
                dur[lo..lo + s.c_in[k] * px].to_vec()
            })
            .collect();
        close(&got, &want, &format!("dx{k} {s:?}"));
    }
    let mut dw = vec![1.; w.len()];
    let mut sm = vec![0.; sums.len()];
    backward_weight(&s, &input, &dym, &mut dw, Some(&mut sm));
    close(&dw, &dwr, &format!("dw {s:?}"));
    close(&sm, &sums, "sums");
}
#[test]
fn all() {
    for (c_in, c_out) in
        [([64, 0], 64), ([3, 0], 20), ([16, 5], 3), ([32, 48], 40), ([1, 0], 1), ([130, 0], 17), ([5, 0], 33)]
    {
        for (h, w) in [(8, 8), (7, 7), (5, 13), (1, 1), (2, 3), (14, 14)] {
            for (kernel, stride, pad) in [
                ((3, 3), 1, [1; 4]),
                ((1, 1), 1, [0; 4]),
                ((3, 3), 2, [1; 4]),
                ((3, 3), 2, [0, 0, 1, 1]),
                ((5, 5), 1, [2; 4]),
                ((1, 3), 3, [0, 1, 0, 2]),
            ] {
                for upsample in [false, true] {
                    if !upsample && (h + pad[0] + pad[2] < kernel.0 || w + pad[1] + pad[3] < kernel.1) {
                        continue;
                    }
                    run(Conv2d { batch: 2, c_in, h, w, c_out, kernel, stride, pad, upsample });
                }
            }
        }
    }
}
