//! Vectors of many dimensions on a plane.

/// The power method stops after so many steps, or when a step turns the direction by less than
/// [`STILL`].
const STEPS: usize = 200;
const STILL: f64 = 1e-9;

/// Where vectors lie on a plane, and which share of their variance it shows, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plane {
    pub(super) points: Vec<[f64; 2]>,
    pub(super) explained: f64,
}

/// Lays vectors of one dimension on the plane in which they differ most: their first two
/// principal components (Pearson, 1901; Hotelling, 1933), by the power method. The same vectors
/// give the same plane. Vectors are taken at length one, as searches compare them.
pub(super) fn plane(vectors: &[Vec<f32>]) -> Plane {
    let Some(dimension) = vectors.first().map(Vec::len) else { return Plane::default() };
    let mut rows: Vec<Vec<f64>> = vectors.iter().map(|vector| unit(vector)).collect();
    let count = rows.len() as f64;
    let mut mean = vec![0.0; dimension];
    for row in &rows {
        add(&mut mean, row, 1.0 / count);
    }
    for row in &mut rows {
        add(row, &mean, -1.0);
    }
    let variance: f64 = rows.iter().map(|row| dot(row, row)).sum();
    let first = direction(&rows, &[]);
    let second = direction(&rows, std::slice::from_ref(&first));
    let points: Vec<[f64; 2]> = rows.iter().map(|row| [dot(row, &first), dot(row, &second)]).collect();
    let shown: f64 = points.iter().map(|[x, y]| x * x + y * y).sum();
    // Vectors that are all the same vary by what rounding leaves.
    let explained = if variance > 1e-12 * count { (shown / variance).min(1.0) } else { 1.0 };
    Plane { points, explained }
}

/// The direction in which rows differ most, at right angles to others.
fn direction(rows: &[Vec<f64>], others: &[Vec<f64>]) -> Vec<f64> {
    let dimension = rows.first().map_or(0, Vec::len);
    // Anything that is at right angles to nothing in particular, and the same each time.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut at: Vec<f64> = (0..dimension)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        })
        .collect();
    clear(&mut at, others);
    for _ in 0..STEPS {
        let mut next = vec![0.0; dimension];
        for row in rows {
            add(&mut next, row, dot(row, &at));
        }
        clear(&mut next, others);
        if next.iter().all(|part| part.abs() < f64::MIN_POSITIVE) {
            break;
        }
        let turned = 1.0 - dot(&next, &at).abs();
        at = next;
        if turned < STILL {
            break;
        }
    }
    // A direction and its opposite are the same: the part that is largest points up.
    let largest = at.iter().copied().fold(0.0_f64, |a, b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 {
        for part in &mut at {
            *part = -*part;
        }
    }
    at
}

/// Takes away what points as others do, and makes the rest one long; nothing stays nothing.
fn clear(at: &mut [f64], others: &[Vec<f64>]) {
    for other in others {
        let along = dot(at, other);
        add(at, other, -along);
    }
    let length = dot(at, at).sqrt();
    let scale = if length > 1e-150 { 1.0 / length } else { 0.0 };
    for part in at {
        *part *= scale;
    }
}

fn unit(vector: &[f32]) -> Vec<f64> {
    let mut row: Vec<f64> = vector.iter().map(|part| f64::from(*part)).collect();
    clear(&mut row, &[]);
    row
}

fn add(sum: &mut [f64], other: &[f64], times: f64) {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other * times);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(points: &[[f64; 2]], a: usize, b: usize) -> f64 {
        (points[a][0] - points[b][0]).hypot(points[a][1] - points[b][1])
    }

    #[test]
    fn vectors_of_a_plane_keep_their_distances() {
        // A circle in the plane of the axes 3 and 7 of 16.
        let vectors: Vec<Vec<f32>> = (0..12)
            .map(|step| {
                let angle = f32::from(u8::try_from(step).expect("small")) / 12.0 * std::f32::consts::TAU;
                let mut vector = vec![0.0; 16];
                (vector[3], vector[7]) = (angle.cos(), angle.sin());
                vector
            })
            .collect();
        let plane = plane(&vectors);
        assert!((plane.explained - 1.0).abs() < 1e-9, "{}", plane.explained);
        assert!((distance(&plane.points, 0, 6) - 2.0).abs() < 1e-6, "{:?}", plane.points);
        assert!((distance(&plane.points, 0, 3) - 2.0_f64.sqrt()).abs() < 1e-6, "{:?}", plane.points);
    }

    #[test]
    fn groups_lie_apart_along_the_direction_in_which_they_differ_most() {
        let mut vectors = Vec::new();
        for (group, axis) in [(0_u16, 0_usize), (1, 1)] {
            for each in 0..20_u16 {
                let mut vector = vec![0.0_f32; 64];
                vector[axis] = 10.0;
                vector[2 + usize::from(each)] = f32::from(1 + group);
                vectors.push(vector);
            }
        }
        let plane = plane(&vectors);
        let side = |point: &[f64; 2]| point[0] > 0.0;
        assert!(plane.points[..20].iter().all(|point| side(point) == side(&plane.points[0])));
        assert!(plane.points[20..].iter().all(|point| side(point) != side(&plane.points[0])));
        assert!(plane.explained > 0.9 && plane.explained < 1.0, "{}", plane.explained);
        assert_eq!(plane, super::plane(&vectors), "the same each time");
    }

    #[test]
    fn vectors_that_say_nothing_lie_in_the_middle() {
        assert_eq!(plane(&[]), Plane::default());
        for vectors in [vec![vec![0.0; 4]; 3], vec![vec![0.3; 4]; 5], vec![vec![1.0]], vec![Vec::new(); 2]] {
            let plane = plane(&vectors);
            assert!(plane.points.iter().flatten().all(|part| part.abs() < 1e-7), "{:?}", plane.points);
            assert!((plane.explained - 1.0).abs() < 1e-9);
        }
        let huge = plane(&[vec![f32::MAX, 0.0], vec![0.0, f32::MIN_POSITIVE], vec![-f32::MAX, f32::MAX]]);
        assert!(huge.points.iter().flatten().all(|part| part.is_finite()), "{:?}", huge.points);
    }
}
