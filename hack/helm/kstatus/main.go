// Says what kstatus, by which Helm and Flux wait, thinks of the objects of a List on standard input: a JSON array of
// {"status", "message"} in their order.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	var list struct {
		Items []map[string]any `json:"items"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&list); err != nil {
		log.Fatal(err)
	}
	verdicts := []verdict{}
	for _, item := range list.Items {
		result, err := status.Compute(&unstructured.Unstructured{Object: whole(item).(map[string]any)})
		if err != nil {
			log.Fatal(err)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		log.Fatal(err)
	}
}

// whole turns numbers into integers, as a client of the API has them.
func whole(value any) any {
	switch it := value.(type) {
	case map[string]any:
		for key, inner := range it {
			it[key] = whole(inner)
		}
	case []any:
		for i, inner := range it {
			it[i] = whole(inner)
		}
	case float64:
		return int64(it)
	}
	return value
}
