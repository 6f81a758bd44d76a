package gateway_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// people is the size of the region: -people 1000000 for a real one. Each has a
// study at each of two sites, under two PatientIDs, linked with one number.
var people = flag.Int("people", 5_000, "patients in the benchmark of searches by national number")

// matricule is that of person n.
func matricule(n int) string {
	body := fmt.Sprintf("1%012d", n)
	key, err := ins.Key(body)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s%02d", body, key)
}

// entered is person n: two archived studies and two links.
func entered(n int) (b index.Batch) {
	b.Identities = &index.Identities{}
	for i, site := range []string{"HUS", "HCC"} {
		in := indextest.Population{Seed: 9, MaxSeries: 1, MaxInstances: 1}.Study(2*n + i)[0]
		local := index.PatientKey{Issuer: site, PatientID: fmt.Sprintf("%07d", n*(1+i)+i)}
		in = indextest.With(in, indextest.Text(0x00100020, "LO", local.PatientID), indextest.Text(0x00100021, "LO", site))
		in.At = index.Position{}
		in.Digest = storage.DigestOf([]byte(in.Key.SOPInstanceUID))
		id := fmt.Sprintf("pack-%d-%d", n, i)
		b.Adopted = append(b.Adopted, index.AdoptedPack{
			Pack: index.PackArchive{PackID: id, Archive: "dir:///a", Key: "studies/" + id, Size: 1}, Instances: []index.Instance{in},
		})
		c := index.IdentityChange{
			Name: id, Kind: index.IdentityLinked, Local: local, Number: matricule(n), By: "bench", At: int64(n), Status: "VALI",
			Authority: ins.Number{OID: ins.NIR}.Issuer(), Traits: index.Traits(odile()),
		}
		b.Identities.Changes = append(b.Identities.Changes, c)
	}
	return b
}

// BenchmarkSearchByNationalNumber asks for one person after the other, and
// reports the median and the 99th percentile of a question with its answers.
func BenchmarkSearchByNationalNumber(b *testing.B) {
	n := open(b, b.TempDir(), mem.New())
	var batch index.Batch
	for i := range *people {
		one := entered(i)
		if batch.Identities == nil {
			batch.Identities = &index.Identities{}
		}
		batch.Adopted = append(batch.Adopted, one.Adopted...)
		batch.Identities.Changes = append(batch.Identities.Changes, one.Identities.Changes...)
		if len(batch.Adopted) >= 4000 || i == *people-1 {
			if _, err := n.index.Apply(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = index.Batch{}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for name, question := range map[string]func(i int) index.Query{
		"by number": func(i int) index.Query {
			return by("PatientID", matricule(i), "IssuerOfPatientID", "ASIP-SANTE-INS-NIR")
		},
		"by PatientID of one site": func(i int) index.Query {
			return by("PatientID", fmt.Sprintf("%07d", 2*i+1), "IssuerOfPatientID", "HCC")
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				q := question(random.IntN(*people))
				began := time.Now()
				found := 0
				for ds, err := range n.finder.Find(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					found++
					_ = ds.AppendJSON(nil)
				}
				took = append(took, time.Since(began))
				if found < 1 || name == "by number" && found != 2 {
					b.Fatalf("%d studies", found)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
